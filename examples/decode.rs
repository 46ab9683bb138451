//! A filter from an event stream to lines of JSON, one for each event that a client would dispatch.
//! Each line is written as soon as its event is complete.
//!
//! ```text
//! $ cargo build --example decode
//! $ curl -N https://example.com/events | target/debug/examples/decode
//! $ printf 'id: 7\ndata: a\ndata: b\n\n: idle\nretry: 3000\nevent: tick\ndata\n\nid\n\ndata: cut' |
//!     target/debug/examples/decode --all
//! {"event":"message","data":"a\nb","lastEventId":"7"}
//! {"comment":"idle"}
//! {"retry":3000}
//! {"event":"tick","data":"","lastEventId":"7"}
//! {"lastEventId":""}
//! ```
//!
//! Without `--all`, the filter writes only events. It removes one leading space from a comment,
//! because `encode` adds one. If a line or an event is longer than 16 MiB, the filter reports it on
//! stderr and exits with status 1.

use std::{
    env,
    io::{self, ErrorKind::BrokenPipe, Read as _, Write as _},
    process::ExitCode,
};

use http_sse::decode::{Decoded, Decoder};
use serde_json::{Value, json};

fn main() -> io::Result<ExitCode> {
    let mut decoder = Decoder::new();
    for argument in env::args_os().skip(1) {
        if argument != "--all" {
            eprintln!("usage: decode [--all] <event-stream");
            return Ok(ExitCode::from(2));
        }
        decoder = decoder.with_comments();
    }
    let mut stdin = io::stdin().lock();
    let mut stdout = io::stdout().lock();
    let mut piece = vec![0; 64 * 1024]; // the capacity of a pipe
    loop {
        let length = stdin.read(&mut piece)?;
        if length == 0 {
            return Ok(ExitCode::SUCCESS); // a client drops an incomplete event
        }
        let mut input = &piece[..length];
        loop {
            let line = match decoder.decode(&mut input) {
                Ok(None) => break,
                Ok(Some(decoded)) => to_json(decoded),
                Err(error) => {
                    eprintln!("{error}");
                    return Ok(ExitCode::FAILURE);
                }
            };
            // If the reader has closed the pipe, end without an error.
            match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
                Err(error) if error.kind() == BrokenPipe => return Ok(ExitCode::SUCCESS),
                written => written?,
            }
        }
    }
}

fn to_json(decoded: Decoded<'_>) -> String {
    match decoded {
        Decoded::Event {
            event_type,
            data,
            last_event_id,
            ..
        } => {
            // Keeps this order for readers; `json!` would sort the fields.
            let [event, data, id] = [event_type, &data, last_event_id].map(Value::from);
            format!(r#"{{"event":{event},"data":{data},"lastEventId":{id}}}"#)
        }
        Decoded::Comment(text) => {
            json!({ "comment": text.strip_prefix(' ').unwrap_or(&text) }).to_string()
        }
        Decoded::Retry(time) => json!({ "retry": time.as_millis() }).to_string(),
        Decoded::Id(id) => json!({ "lastEventId": id }).to_string(),
        other => json!({ "other": format!("{other:?}") }).to_string(),
    }
}
