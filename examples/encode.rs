//! A filter from lines of JSON to an event stream. Each line is an object.
//!
//! The fields of an object are `event`, `data`, `id` and `comment` (strings) and `retry`
//! (milliseconds). All are optional. If a line is invalid, the filter reports it on stderr, reads
//! on, and exits with status 1.
//!
//! ```text
//! $ cargo build --example encode
//! $ printf '%s\n' '{"event":"tick","id":"7","data":"a\nb"}' '{"id":"\u0000"}' '{"data":""}' |
//!     target/debug/examples/encode
//! event: tick
//! id: 7
//! data: a
//! data: b
//!
//! line 2: the caller's `id` has '\0' at byte 0, which the field cannot carry
//! data:
//!
//! ```
//!
//! The last `data:` has a space after it. An object without fields writes nothing.

use std::{
    error::Error,
    io::{self, BufRead as _, ErrorKind, Write as _},
    process::ExitCode,
    time::Duration,
};

use bytes::BytesMut;
use http_sse::{Event, EventId, EventType, Retry};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    event: Option<String>,
    data: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
    comment: Option<String>,
}

fn main() -> io::Result<ExitCode> {
    let mut stdin = io::stdin().lock();
    let mut stdout = io::stdout().lock();
    let mut status = ExitCode::SUCCESS;
    let mut line = Vec::new();
    let mut wire = BytesMut::new();
    for number in 1_u64.. {
        line.clear();
        if stdin.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let written = match parse(&line) {
            Ok(event) => {
                wire.clear();
                let Ok(()) = http_sse::encode(event, &mut wire);
                stdout.write_all(&wire).and_then(|()| stdout.flush())
            }
            Err(why) => {
                status = ExitCode::FAILURE;
                writeln!(io::stderr(), "line {number}: {why}")
            }
        };
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break, // the reader has left
            written => written?,
        }
    }
    Ok(status)
}

fn parse(line: &[u8]) -> Result<Event, Box<dyn Error>> {
    let line = std::str::from_utf8(line)?.trim_ascii_end();
    // Serde would also accept an array of the fields.
    if !line.trim_ascii_start().starts_with('{') {
        return Err("not a JSON object".into());
    }
    let fields: Fields = serde_json::from_str(line).map_err(|error| {
        error
            .to_string()
            .replace(" at line 1 column ", " at column ")
    })?;

    let mut event = fields.data.map(Event::data).unwrap_or_default();
    if let Some(event_type) = fields.event {
        event = event.event_type(EventType::new(event_type)?);
    }
    if let Some(id) = fields.id {
        event = event.id(EventId::new(id)?);
    }
    if let Some(retry) = fields.retry {
        event = event.retry(Retry::new(Duration::from_millis(retry))?);
    }
    if let Some(comment) = fields.comment {
        event = event.comment(comment);
    }
    Ok(event)
}
