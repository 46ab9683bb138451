//! is not a stream of events
//! note: turn text into events with `.map(Event::data)`
//! `&str` cannot be sent as an event

use futures_util::stream;
use http_sse::{EncodedEvent, Sse};

fn main() {
    let _ = Sse::new(stream::iter(["a"]));
    let _ = EncodedEvent::new("a");
}
