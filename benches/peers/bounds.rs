//! The labels of ratios that a benchmark guards.

/// Returns ` (floor 2x)`, or `, below the floor of 2x` if the ratio is lower.
#[must_use]
pub fn floor_label(ratio: f64, floor: f64) -> String {
    if ratio >= floor {
        format!(" (floor {floor}x)")
    } else {
        format!(", below the floor of {floor}x")
    }
}

/// Returns ` (ceiling 2)`, or `, above the ceiling of 2` if the ratio is higher.
#[must_use]
pub fn ceiling_label(ratio: f64, ceiling: f64) -> String {
    if ratio <= ceiling {
        format!(" (ceiling {ceiling})")
    } else {
        format!(", above the ceiling of {ceiling}")
    }
}
