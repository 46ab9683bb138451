//! What the crate allocates of its own: next to nothing.

use allocation_counter::measure;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{EncodedEvent, Event, EventType, Json, Sse};

const TICK: EventType = EventType::from_static("tick");

#[test]
fn small_events_that_are_merged_cost_almost_no_allocation() {
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
        let each = info.count_total as f64 / EVENTS as f64;
        assert!(each <= 0.02, "{kind}: {each} allocations per event");
    }
}

#[tokio::test(start_paused = true)]
async fn batches_cost_almost_no_allocation_once_warm() {
    const BATCHES: usize = 1_000;
    const BATCH: usize = 10;

    // Ten that are ready, then pending, and so on.
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
    let each = info.count_total as f64 / (BATCHES * BATCH) as f64;
    assert!(each <= 0.02, "{each} allocations per event");
}

#[test]
fn json_is_serialised_without_an_allocation_of_its_own() {
    let mut body = Sse::new(stream::iter((0..10_000_u32).map(|n| Json([n, n]))))
        .keep_alive(None)
        .into_body();
    body.next().now_or_never().unwrap().unwrap().unwrap();
    let info = measure(|| while body.next().now_or_never().unwrap().is_some() {});
    assert!(info.count_total <= 200, "{info:?}");
}

#[test]
fn an_encoded_event_is_cloned_and_sent_without_an_allocation() {
    let event = EncodedEvent::from(Event::data("x".repeat(100)));
    let info = measure(|| drop(std::hint::black_box(event.clone())));
    assert_eq!(info.count_total, 0);

    // Sent alone: the bytes themselves are the frame.
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

/// From a block of 2 KiB over one of about 12 to one of 34, which is what a frame may hold.
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
    // The block, and what counts the references to it once it is a frame.
    for (events, expected) in [(1, 2), (31, 2), (32, 3), (186, 3), (187, 4), (511, 4)] {
        assert_eq!(allocations(events), expected, "{events} events");
    }
}
