//! The check of bytes that claim to be one event as [`Encoder`](super::Encoder) writes it.

use memchr::memmem;

use super::retry::Retry;

/// Returns whether `wire`, which an [`Encoder`] wrote, is one block: it is not empty, and an empty
/// line stands nowhere but at its end.
pub(crate) fn is_one_block(wire: &[u8]) -> bool {
    match memmem::find(wire, b"\n\n") {
        Some(end) => end + 2 == wire.len(),
        None => !wire.is_empty(),
    }
}

/// Returns whether a block counts as an event: it has more than comments and a reconnection time.
#[inline]
pub(crate) fn is_event(block: &[u8]) -> bool {
    matches!(block, [b'd' | b'e' | b'i', ..]) || begins_otherwise(block)
}

/// Does the same for a block that starts with another field or a comment.
#[cold]
fn begins_otherwise(block: &[u8]) -> bool {
    let mut lines = block.split(|&byte| byte == b'\n');
    lines.any(|line| matches!(line, [b'd' | b'e' | b'i', ..]))
}

/// The rules of [`check`], for one line.
const FIELDS: [&[u8]; 4] = [b"data: ", b"event: ", b"id: ", b"retry: "];

/// Checks that `wire` is one whole event as [`Encoder`] writes it, or tells at which byte it is
/// not.
pub(crate) const fn check(wire: &[u8]) -> Result<(), usize> {
    let mut open = false;
    let mut at = 0;
    while at < wire.len() {
        if wire[at] == b'\n' {
            // The empty line: behind something, and nothing behind it.
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
            return Err(at); // no LF
        }
        at += 1;
    }
    if open || wire.is_empty() {
        Err(at)
    } else {
        Ok(())
    }
}

/// Which of [`FIELDS`] begins at `start`.
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
