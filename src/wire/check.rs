//! The check that bytes are one event as [`Encoder`](super::Encoder) writes it.

use memchr::memmem;

use super::retry::Retry;

/// Returns whether `wire`, which an encoder wrote, is one block. A block is not empty, and an
/// empty line can only be at its end.
pub(crate) fn is_one_block(wire: &[u8]) -> bool {
    match memmem::find(wire, b"\n\n") {
        Some(end) => end + 2 == wire.len(),
        None => !wire.is_empty(),
    }
}

/// Returns whether a block counts as an event: it has an event type, an id or data.
#[inline]
pub(crate) fn is_event(block: &[u8]) -> bool {
    matches!(block, [b'd' | b'e' | b'i', ..]) || begins_otherwise(block)
}

/// Returns whether a block that starts with a comment or a reconnection time counts as an event.
#[cold]
fn begins_otherwise(block: &[u8]) -> bool {
    let mut lines = block.split(|&byte| byte == b'\n');
    lines.any(|line| matches!(line, [b'd' | b'e' | b'i', ..]))
}

/// The fields that [`check`] accepts.
const FIELDS: [&[u8]; 4] = [b"data: ", b"event: ", b"id: ", b"retry: "];

/// Checks that `wire` is one whole event as an encoder writes it. Otherwise returns the offset from
/// which it is not valid.
pub(crate) const fn check(wire: &[u8]) -> Result<(), usize> {
    let mut open = false;
    let mut at = 0;
    while at < wire.len() {
        if wire[at] == b'\n' {
            // The empty line must come last, after at least one other line.
            return if at > 0 && at + 1 == wire.len() {
                Ok(())
            } else {
                Err(at)
            };
        }
        let field = field_at(wire, at);
        if wire[at] != b':' && field.is_none() {
            return Err(at);
        }
        let (forbids_nul, digits_only) = match field {
            Some(2) => (true, false),
            Some(3) => (false, true),
            _ => (false, false),
        };
        open = open || (field.is_some() && !digits_only);
        if let Some(field) = field {
            at += FIELDS[field].len();
        }
        let mut retry = 0;
        while at < wire.len() && wire[at] != b'\n' {
            let byte = wire[at];
            if byte == b'\r' || (forbids_nul && byte == 0) {
                return Err(at);
            }
            if digits_only {
                if !byte.is_ascii_digit() || retry > Retry::MAX.as_millis() / 10 {
                    return Err(at);
                }
                retry = retry * 10 + (byte - b'0') as u32;
            }
            at += 1;
        }
        if digits_only && (retry < Retry::MIN.as_millis() || retry > Retry::MAX.as_millis()) {
            return Err(at);
        }
        if at == wire.len() {
            return Err(at); // the line is not ended
        }
        at += 1;
    }
    if open || wire.is_empty() {
        Err(at)
    } else {
        Ok(())
    }
}

/// Returns the index in [`FIELDS`] of the field that begins at `start`.
const fn field_at(wire: &[u8], start: usize) -> Option<usize> {
    let mut field = 0;
    while field < FIELDS.len() {
        let name = FIELDS[field];
        let mut i = 0;
        while i < name.len() && start + i < wire.len() && wire[start + i] == name[i] {
            i += 1;
        }
        if i == name.len() {
            return Some(field);
        }
        field += 1;
    }
    None
}
