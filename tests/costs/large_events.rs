//! The memory of a stream after a large event or a burst.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, task::Poll};

use allocation_counter::measure;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{Encode, EncodedEvent, Encoder, Event, Json, Sse, decode::Decoder};

/// The bytes that a stream may hold in excess of one that never sent a large event.
const SLACK: i64 = 4 * 1024;

/// The bytes of the blocks that a stream may keep for its next frames, plus the slack.
const FEW_BLOCKS: i64 = 3 * 34 * 1024 + SLACK;

/// An item of each kind that is encoded differently.
enum Item {
    Event(Event),
    Encoded(EncodedEvent),
    Json(Json<String>),
    /// Writes this many events that are each sent uncopied.
    Pieces(usize),
    /// Fails after it has written about this many bytes.
    Fails(usize),
}

impl Encode for Item {
    type Error = serde_json::Error;

    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), serde_json::Error> {
        match self {
            Self::Event(event) => event.encode(encoder).map_err(|never| match never {}),
            Self::Encoded(event) => event.encode(encoder).map_err(|never| match never {}),
            Self::Json(json) => json.encode(encoder),
            Self::Pieces(pieces) => {
                for _ in 0..pieces {
                    let Ok(()) = Event::data("x".repeat(70_000)).encode(encoder);
                }
                Ok(())
            }
            Self::Fails(size) => {
                encoder.data(&"line\n".repeat(size / 5));
                Err(serde::ser::Error::custom("no more"))
            }
        }
    }
}

/// Items that are ready together.
type Batch = Box<dyn Iterator<Item = Item>>;

fn batch(items: impl IntoIterator<Item = Item, IntoIter: 'static>) -> Batch {
    Box::new(items.into_iter())
}

fn small() -> Item {
    Item::Event(Event::data("a small event"))
}

/// Returns one large event of each kind: one line, many lines, JSON, and already encoded.
fn large(size: usize) -> [Item; 4] {
    let lines = || Event::data("line\n".repeat(size / 5));
    [
        Item::Event(Event::data("x".repeat(size))),
        Item::Event(lines()),
        Item::Json(Json("x".repeat(size))),
        Item::Encoded(lines().into()),
    ]
}

/// Returns the heap of a body in bytes after these batches and one small event.
///
/// Each batch is ready in one poll. The client takes all frames of a batch, then drops them.
fn heap(batches: impl FnOnce() -> Vec<Batch>, keep_alive: bool) -> i64 {
    heap_after(batches, keep_alive, true)
}

/// Returns the same as [`heap`], but without the small event unless `followed` is set.
///
/// The batches are allocated within the measurement. Otherwise, freeing them would hide as many
/// bytes that the body holds.
fn heap_after(batches: impl FnOnce() -> Vec<Batch>, keep_alive: bool, followed: bool) -> i64 {
    let mut body = None;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let _entered = runtime.as_ref().unwrap().enter();
    let measured = measure(|| {
        let mut batches = batches();
        let ready = Rc::new(RefCell::new(batch([])));
        let source = ready.clone();
        let source = stream::poll_fn(move |_| match source.borrow_mut().next() {
            Some(item) => Poll::Ready(Some(item)),
            None => Poll::Pending,
        });
        let mut sse = Sse::new(source);
        if !keep_alive {
            sse = sse.keep_alive(None);
        }
        let body = body.insert(sse.into_body());
        if followed {
            batches.push(batch([small()]));
        }
        for batch in batches {
            *ready.borrow_mut() = batch;
            let mut frames = Vec::new();
            while let Some(Some(Ok(frame))) = body.next().now_or_never() {
                frames.push(frame);
            }
        }
        *ready.borrow_mut() = batch([]);
    });
    measured.bytes_current
}

/// Asserts that a stream holds little more after these batches than after one small event.
fn assert_little_more(what: &str, batches: impl Fn() -> Vec<Batch>) {
    for keep_alive in [true, false] {
        let small = || vec![batch([small()])];
        let more = heap(&batches, keep_alive) - heap(small, keep_alive);
        println!("{what}, keep-alive {keep_alive}: {more} bytes more");
        assert!(
            more <= SLACK,
            "{what}, keep-alive {keep_alive}: {more} bytes more"
        );
    }
}

#[test]
fn a_large_event_leaves_little_memory_allocated() {
    for size in [20, 2_000, 20_000, 34_000, 40_000, 100_000, 5_000_000] {
        for kind in 0..4 {
            assert_little_more(&format!("{size} bytes of kind {kind}"), || {
                let large = large(size).into_iter().nth(kind).unwrap();
                vec![batch([large])]
            });
        }
    }
}

#[test]
fn a_burst_leaves_little_memory_allocated() {
    assert_little_more("60 frames of events", || {
        let events = (0..60 * 220).map(|_| Item::Event(Event::data("x".repeat(150))));
        vec![batch(events)]
    });
    assert_little_more("60 large pieces", || {
        let pieces = (0..60).map(|_| Item::Event(Event::data("x".repeat(70_000))));
        vec![batch(pieces)]
    });
    assert_little_more("an item of 1,000 large pieces", || {
        vec![batch([Item::Pieces(1_000)])]
    });
    assert_little_more("large and small in turns", || {
        let [_, lines, json, _] = large(50_000);
        vec![batch([lines]), batch([small()]), batch([json])]
    });
}

#[test]
fn a_failed_item_leaves_no_memory_allocated() {
    // The body has failed, so no small event follows.
    let failed = heap(|| vec![batch([Item::Fails(5_000_000)])], false);
    let small = heap(Vec::new, false);
    assert!(failed - small <= SLACK, "{} bytes more", failed - small);
}

/// Returns the heap of a decoder that has read these pieces, in bytes.
pub(crate) fn heap_of_decoder<'a>(decoder: Decoder, pieces: impl Iterator<Item = &'a [u8]>) -> i64 {
    let mut kept = None;
    let measured = measure(|| {
        let decoder = kept.insert(decoder);
        for mut piece in pieces {
            while decoder.decode(&mut piece).unwrap().is_some() {}
        }
    });
    measured.bytes_current
}

#[test]
fn a_decoder_releases_the_memory_of_a_large_event() {
    const SMALL: &[u8] = b"data: a small\ndata: event\n\n";

    for size in [20, 2_000, 20_000, 5_000_000] {
        let text = "x".repeat(size);
        for (what, stream) in [
            ("a line", format!("data: {text}\n\n")),
            ("lines", format!("{}\n", "data: a line\n".repeat(size / 13))),
            ("a comment", format!(": {text}\n")),
            ("a type", format!("event: {text}\ndata: a\n\n")),
            (
                "an id",
                format!("id: {text}\ndata: a\n\nid: 1\ndata: a\n\n"),
            ),
        ] {
            for small in [Some(5), Some(usize::MAX), None] {
                let more = [7, 16 * 1024, usize::MAX].map(|piece| {
                    let heap = |stream: &[u8]| {
                        let small = small.map(|size| SMALL.chunks(size)).into_iter();
                        let pieces = stream.chunks(piece).chain(small.flatten());
                        heap_of_decoder(Decoder::new(), pieces)
                    };
                    heap(stream.as_bytes()) - heap(b"")
                });
                let then = match small {
                    Some(5) => "a small event in pieces",
                    Some(_) => "a small event",
                    None => "nothing",
                };
                println!("decoder, {what} of {size} bytes, then {then}: {more:?} bytes more");
                // Without a small event the decoder keeps the large one until its next input.
                let is_little = more.iter().all(|more| *more <= SLACK);
                assert!(
                    is_little || small.is_none(),
                    "{what} of {size} bytes: {more:?} bytes more"
                );
            }
        }
    }
}

/// Blocks are freed, but batches of the same size still reuse them.
#[test]
fn batches_of_one_size_reuse_their_blocks() {
    for events in [1, 10, 100, 1_000] {
        let queue = Rc::new(RefCell::new(VecDeque::with_capacity(events)));
        let source = queue.clone();
        let source = stream::poll_fn(move |_| match source.borrow_mut().pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None => Poll::Pending,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let _entered = runtime.as_ref().unwrap().enter();
        let mut body = Sse::new(source).into_body();
        let mut batch = || {
            let event = |_| Event::data("0123456789012345678901234567890123456789");
            queue.borrow_mut().extend((0..events).map(event));
            while let Some(Some(frame)) = body.next().now_or_never() {
                let _: Bytes = frame.unwrap();
            }
        };
        (0..10).for_each(|_| batch());
        let allocations = measure(|| (0..100).for_each(|_| batch())).count_total;
        println!("{allocations} allocations for 100 batches of {events} events");
        // A batch of 48 kB is a full frame and a smaller one. After the smaller one, the blocks of
        // the full one are freed.
        let bound = if events == 1_000 { 300 } else { 2 };
        assert!(
            allocations <= bound,
            "{allocations} for 100 batches of {events}"
        );
    }
}

/// With a keep-alive, the blocks of a burst are freed at the next pause, not at the keep-alive.
#[test]
fn a_burst_leaves_few_blocks_before_the_keep_alive() {
    let burst = || {
        let events = (0..60 * 220).map(|_| Item::Event(Event::data("x".repeat(150))));
        vec![batch(events)]
    };
    // A small event after the burst would free all blocks, so there is none.
    let more = heap_after(burst, true, false) - heap_after(Vec::new, true, false);
    println!("{more} bytes more after a burst");
    assert!(more <= FEW_BLOCKS, "{more} bytes more");
}

/// The memory of a large event is freed before the next event or keep-alive.
#[test]
fn a_quiet_stream_holds_little_after_a_large_event() {
    for keep_alive in [true, false] {
        let assert_little = |what: &str, more: i64, bound| {
            println!("{what}, keep-alive {keep_alive}: {more} bytes more while quiet");
            assert!(
                more <= bound,
                "{what}, keep-alive {keep_alive}: {more} bytes more"
            );
        };
        let small = heap_after(|| vec![batch([small()])], keep_alive, false);
        for kind in 0..4 {
            let batches = || vec![batch(large(5_000_000).into_iter().skip(kind).take(1))];
            let more = heap_after(batches, keep_alive, false) - small;
            assert_little(&format!("5 MB of kind {kind}"), more, SLACK);
        }
        // A frame is full after 208 of these events, so the last frame is full too.
        let frames = || {
            let events = (0..60 * 208).map(|_| Item::Event(Event::data("x".repeat(150))));
            vec![batch(events)]
        };
        let more = heap_after(frames, keep_alive, false) - small;
        assert_little("60 full frames", more, FEW_BLOCKS);
    }
}
