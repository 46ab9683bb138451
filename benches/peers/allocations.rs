//! Counts allocations per event, from a stream that is always ready to the bytes of a body.
//!
//! `cargo bench -p http-sse-peers --bench allocations` prints a table. It fails if http-sse exceeds
//! its ceiling.

use std::hint::black_box;

use allocation_counter::measure;
use http_sse_peers::{
    ActixWebLab, Axum, HttpSse, HttpSseEncoded, Payload, Peer, Poem, Rocket, Salvo, SseStream,
    Warp, in_runtime,
};

/// The ceiling of http-sse, in allocations per event.
const CEILING: f64 = 0.02;

/// Prints the row of a peer.
fn row<P: Peer>(ceiling: Option<f64>) {
    let cells = [Payload::tick(), Payload::token()].map(|payload| {
        let run = |events| {
            let run = || P::run(payload.with(events), |frame| _ = black_box(frame));
            measure(run).count_total
        };
        run(10); // allocates what is made once
        // The difference leaves out what a body allocates once.
        let each = (run(20_000) - run(10_000)) as f64 / 10_000.0;
        if let Some(ceiling) = ceiling {
            assert!(each <= ceiling, "{each} allocations per event");
        }
        format!("{each:.3}")
    });
    println!("| {} | {} |", P::NAME, cells.join(" | "));
}

fn main() {
    in_runtime(|| {
        println!("| allocations per event | tick | token |");
        println!("|---|---:|---:|");
        row::<HttpSse>(Some(CEILING));
        row::<HttpSseEncoded>(Some(CEILING));
        row::<Axum>(None);
        row::<ActixWebLab>(None);
        row::<SseStream>(None);
        row::<Warp>(None);
        row::<Poem>(None);
        row::<Salvo>(None);
        row::<Rocket>(None);
    });
}
