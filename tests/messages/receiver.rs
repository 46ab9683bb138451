//! `tokio::sync::mpsc::Receiver<http_sse::Event>` is not a stream of events
//! note: wrap a receiver of tokio in `ReceiverStream`,

use http_sse::{Event, Sse};

fn main() {
    let (_, receiver) = tokio::sync::mpsc::channel::<Event>(1);
    let _ = Sse::new(receiver);
}
