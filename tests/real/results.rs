//! The results in the crate's documentation.

use std::{env, fs, path::Path, sync::Mutex};

/// Compares a section of `results.md` with `rows`. With `HTTP_SSE_BLESS=1` writes it instead.
///
/// The section contains a Markdown table, whose head is the first row.
pub(crate) fn check(section: &str, rows: &[Vec<String>]) {
    static FILE: Mutex<()> = Mutex::new(());
    let _guard = FILE.lock().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/results.md");
    let text = fs::read_to_string(&path).unwrap_or_default();

    let head = format!("### {section}\n");
    let mut table = String::new();
    for (n, row) in rows.iter().enumerate() {
        table += &format!("| {} |\n", row.join(" | "));
        if n == 0 {
            table += &format!("|{}\n", "---|".repeat(row.len()));
        }
    }
    // From the first row to the first line that is not a row.
    let section = text.find(&head).expect("results.md has the section");
    let start = section + text[section..].find("\n|").expect("it has a table") + 1;
    let length = text[start..]
        .split_inclusive('\n')
        .take_while(|line| line.starts_with('|'));
    let end = start + length.map(str::len).sum::<usize>();

    if env::var("HTTP_SSE_BLESS").is_ok_and(|value| value == "1") {
        let text = format!("{}{table}{}", &text[..start], &text[end..]);
        fs::write(path, text).unwrap();
        return;
    }
    assert_eq!(
        text[start..end],
        table,
        "tests/real/results.md differs from the measured results"
    );
}
