//! `Vec<http_sse::Event>` is not a stream of events
//! note: turn an iterator into a stream with `futures_util::stream::iter`

use http_sse::{Event, Sse};

fn main() {
    let _ = Sse::new(vec![Event::data("a")]);
}
