//! The allocations of streams. A warm stream allocates nothing of its own.

use allocation_counter::measure;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{
    EncodedEvent, Event, EventType, Json, KeepAlive, Sse,
    decode::{Decoded, Decoder},
};
use tokio::time::{Sleep, advance};

const TICK: EventType = EventType::from_static("tick");

#[test]
fn merged_small_events_do_not_allocate_once_warm() {
    const EVENTS: u64 = 10_000;

    for (kind, source) in [
        (
            "data",
            (|n| (n < EVENTS).then(|| Event::data("some data of an event"))) as fn(u64) -> _,
        ),
        ("all fields", |n| {
            (n < EVENTS).then(|| Event::data("x").event_type(TICK).id(n).comment("c"))
        }),
    ] {
        let mut n = 0;
        let source = stream::poll_fn(move |_| {
            n += 1;
            std::task::Poll::Ready(source(n))
        });
        let mut body = Sse::new(source).keep_alive(None).into_body();
        body.next().now_or_never().unwrap().unwrap().unwrap(); // warm
        let info = measure(|| while body.next().now_or_never().unwrap().is_some() {});
        assert_eq!(info.count_total, 0, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn batches_do_not_allocate_once_warm() {
    const BATCHES: usize = 1_000;
    const BATCH: usize = 10;

    // Ten events are ready, then the source is pending once, and so on.
    let mut n = 0;
    let source = stream::poll_fn(move |_| {
        n += 1;
        if n % (BATCH + 1) == 0 {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(Some(Event::data("some data of an event")))
    });
    let mut body = Sse::new(source).into_body();
    for _ in 0..10 {
        body.next().now_or_never().unwrap().unwrap().unwrap();
    }
    let info = measure(|| {
        for _ in 0..BATCHES {
            let frame = body.next().now_or_never().unwrap().unwrap().unwrap();
            assert_eq!(frame.len(), BATCH * "data: some data of an event\n\n".len());
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn serialising_json_does_not_allocate() {
    let mut body = Sse::new(stream::iter((0..10_000_u32).map(|n| Json([n, n]))))
        .keep_alive(None)
        .into_body();
    body.next().now_or_never().unwrap().unwrap().unwrap();
    let info = measure(|| while body.next().now_or_never().unwrap().is_some() {});
    assert_eq!(info.count_total, 0);
}

#[test]
fn cloning_and_sending_an_encoded_event_does_not_allocate() {
    let event = EncodedEvent::from(Event::data("x".repeat(100)));
    let info = measure(|| drop(std::hint::black_box(event.clone())));
    assert_eq!(info.count_total, 0);

    // An event that is sent alone is the frame, without a copy.
    let clone = event.clone();
    let mut ready = false;
    let source = stream::poll_fn(move |_| {
        ready = !ready;
        if ready {
            std::task::Poll::Ready(Some(clone.clone()))
        } else {
            std::task::Poll::Pending
        }
    });
    let mut body = Sse::new(source).keep_alive(None).into_body();
    body.next().now_or_never().unwrap().unwrap().unwrap();
    let info = measure(|| {
        for _ in 0..100 {
            assert_eq!(
                body.next().now_or_never().unwrap().unwrap().unwrap().len(),
                108
            );
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn an_idle_stream_holds_no_block() {
    let mut body = Sse::new(stream::pending::<Event>())
        .keep_alive(None)
        .into_body();
    let info = measure(|| {
        body.next().now_or_never().unwrap().unwrap().unwrap();
        assert!(body.next().now_or_never().is_none());
    });
    assert_eq!(info.count_total, 0);
}

/// Counts the allocations of blocks of 2, about 12 and 34 KiB. A frame holds no more than the last.
#[test]
fn the_block_of_a_short_stream_grows_in_two_steps() {
    const EVENT: usize = 64;
    let data = &*"x".repeat(EVENT - "data: \n\n".len()).leak();
    let allocations = |events: usize| {
        let source = stream::iter((0..events).map(|_| Event::data(data)));
        let mut body = Sse::new(source).keep_alive(None).into_body();
        let mut frame = None;
        let info = measure(|| frame = body.next().now_or_never().unwrap());
        assert_eq!(frame.unwrap().unwrap().len(), ":\n".len() + events * EVENT);
        info.count_total
    };
    // The first two are the block, and the reference count that it has as a frame.
    for (events, expected) in [(1, 2), (31, 2), (32, 3), (186, 3), (187, 4), (511, 4)] {
        assert_eq!(allocations(events), expected, "{events} events");
    }
}

/// Frees the blocks with the first keep-alive, or at once without keep-alives.
#[tokio::test(start_paused = true)]
async fn a_stream_that_becomes_idle_frees_its_blocks() {
    const DATA: &str = "some data of an event";
    const EVENTS: usize = 20_000;

    for keep_alive in [None, Some(KeepAlive::new())] {
        let mut events = (0..EVENTS).map(|_| Event::data(DATA));
        let source = stream::poll_fn(move |_| match events.next() {
            Some(event) => std::task::Poll::Ready(Some(event)),
            None => std::task::Poll::Pending,
        });
        let mut body = Sse::new(source).keep_alive(keep_alive.clone()).into_body();
        let mut sent = 0;
        let busy = measure(|| {
            while let Some(frame) = body.next().now_or_never() {
                sent += frame.unwrap().unwrap().len();
                if sent == ":\n".len() + EVENTS * (DATA.len() + 8) {
                    break;
                }
            }
        });
        assert!(busy.bytes_current > 30_000, "{busy:?}");
        advance(KeepAlive::DEFAULT_INTERVAL).await;
        let idle = measure(|| {
            let sent = body.next().now_or_never().map(|frame| frame.unwrap());
            let expected = keep_alive.as_ref().map(|_| Ok(Bytes::from_static(b":\n")));
            assert_eq!(sent, expected);
        });
        let held = busy.bytes_current + idle.bytes_current;
        println!("{} bytes while busy, {held} while idle", busy.bytes_current);
        let timer = keep_alive.map_or(0, |_| size_of::<Sleep>());
        assert_eq!(held as usize, timer);
    }
}

/// Decodes a long line that arrives in single bytes. It is not copied with each of them.
#[test]
fn a_decoder_allocates_in_proportion_to_a_line() {
    const LENGTH: u64 = 1 << 18;

    let mut decoder = Decoder::new();
    let wire = format!("data: {}\n\n", "x".repeat(LENGTH as usize)).into_bytes();
    let mut events = 0;
    let info = measure(|| {
        for mut byte in wire.chunks(1) {
            if let Some(Decoded::Event { data, .. }) = decoder.decode(&mut byte).unwrap() {
                assert_eq!(data.len() as u64, LENGTH);
                events += 1;
            }
        }
    });
    assert_eq!(events, 1);
    // The buffer of the line grows by doubling, to twice the length. The data is copied once.
    assert!(info.bytes_total <= 6 * LENGTH, "{info:?}");
    assert!(info.count_total <= 25, "{info:?}");
}
