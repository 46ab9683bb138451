//! Events that share frames.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body::Body as _;
use http_sse::{Encode, EncodedEvent, Encoder, Event, Sse};

use super::{BUDGET, channel, frame, is_pending, poll};

#[test]
fn ready_events_share_as_few_frames_as_the_budget_allows() {
    for size in [
        0,
        10,
        170,
        5_000,
        BUDGET - 9,
        BUDGET - 8,
        BUDGET - 7,
        40_000,
        2 * BUDGET - 1,
        2 * BUDGET,
        100_000,
    ] {
        for encoded in [false, true] {
            let text = "x".repeat(size);
            let count = if size < 1_000 { 1_000 } else { 50 };
            let items = (0..count).map(|_| {
                let event = Event::data(text.clone());
                if encoded {
                    Ok(EncodedEvent::from(event))
                } else {
                    Err(event)
                }
            });
            let body = Sse::new(stream::iter(items.map(Either)))
                .keep_alive(None)
                .into_body();
            let frames: Vec<Bytes> = body.map(Result::unwrap).collect().now_or_never().unwrap();
            let bytes: usize = frames.iter().map(Bytes::len).sum();
            assert_eq!(bytes, 2 + count * (size + 8));
            assert!(
                frames.len() <= bytes.div_ceil(BUDGET),
                "{size}: {}",
                frames.len()
            );
        }
    }
}

struct Either(Result<EncodedEvent, Event>);

impl Encode for Either {
    type Error = Infallible;

    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
        match self.0 {
            Ok(event) => event.encode(encoder),
            Err(event) => event.encode(encoder),
        }
    }
}

#[test]
fn a_frame_is_full_at_the_budget() {
    // The opening and the first event have 1,024 bytes together, each further event has 1,024.
    let first = std::iter::once(Event::data("x".repeat(1024 - 8 - 2)));
    let rest = (0..40).map(|_| Event::data("x".repeat(1024 - 8)));
    let mut body = Sse::new(stream::iter(first.chain(rest)))
        .keep_alive(None)
        .into_body();
    assert_eq!(frame(&mut body).len(), BUDGET);
    assert_eq!(frame(&mut body).len(), 9 * 1024);
    assert!(body.is_end_stream());
}

#[test]
fn a_single_encoded_event_is_not_copied() {
    let (events, source) = channel();
    let mut body = Sse::new(source).keep_alive(None).into_body();
    assert_eq!(frame(&mut body), ":\n");
    let event = EncodedEvent::from(Event::data("x"));
    events.send(event.clone()).unwrap();
    assert_eq!(frame(&mut body).as_ptr(), event.as_bytes().as_ptr());
    assert!(is_pending(&mut body));
    events.send(event.clone()).unwrap();
    events.send(event.clone()).unwrap();
    assert_eq!(frame(&mut body), "data: x\n\ndata: x\n\n");
}

/// A single encoded event is not copied, so the encoder keeps the first until the second arrives.
#[test]
fn an_item_of_several_encoded_events_keeps_all() {
    struct Several(Vec<EncodedEvent>);

    impl Encode for Several {
        type Error = Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
            let mut events = self.0.into_iter();
            events.try_for_each(|event| event.encode(encoder))
        }
    }

    let large = "x".repeat(2 * BUDGET);
    for texts in [
        &["a", "b"][..],
        &[&large, "b"],
        &["a", &large],
        &[&large, &large],
        &[large.as_str(); 20],
    ] {
        let events = texts.iter().map(|text| Event::data((*text).to_owned()));
        let events: Vec<_> = events.map(EncodedEvent::from).collect();
        let wire: String = texts
            .iter()
            .map(|text| format!("data: {text}\n\n"))
            .collect();
        let mut all = BytesMut::new();
        let Ok(()) = http_sse::encode(Several(events.clone()), &mut all);
        assert!(all == wire.as_bytes());

        let (items, source) = channel();
        let mut body = Sse::new(source).keep_alive(None).into_body();
        assert_eq!(frame(&mut body), ":\n");
        for _ in 0..2 {
            items.send(Several(events.clone())).unwrap();
            let mut sent = Vec::new();
            while let Some(frame) = poll(&mut body) {
                sent.extend_from_slice(&frame.unwrap().unwrap());
            }
            let lengths: Vec<_> = texts.iter().map(|text| text.len()).collect();
            assert!(sent == wire.as_bytes(), "{lengths:?}");
        }
    }
}

#[test]
fn an_encoded_event_precedes_what_its_item_writes_next() {
    struct Both(EncodedEvent);

    impl Encode for Both {
        type Error = Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
            self.0.encode(encoder)?;
            encoder.data("b");
            Ok(())
        }
    }

    let (items, source) = channel();
    let mut body = Sse::new(source).keep_alive(None).into_body();
    assert_eq!(frame(&mut body), ":\n");
    for _ in 0..2 {
        items.send(Both(Event::data("a").into())).unwrap();
    }
    let both = "data: a\n\ndata: b\n\n";
    assert_eq!(frame(&mut body), both.repeat(2));
}

#[test]
fn a_large_event_among_others_is_not_copied() {
    let text = "x".repeat(2 * BUDGET);
    let pointer = text.as_ptr();
    let (events, source) = channel();
    let mut body = Sse::new(source).keep_alive(None).into_body();
    assert_eq!(frame(&mut body), ":\n");
    events.send(Event::data("a")).unwrap();
    events.send(Event::data(text).id(1)).unwrap();
    events.send(Event::data("b")).unwrap();
    assert_eq!(frame(&mut body), "data: a\n\nid: 1\ndata: ");
    let large = frame(&mut body);
    assert_eq!((large.as_ptr(), large.len()), (pointer, 2 * BUDGET));
    assert_eq!(frame(&mut body), "\n\ndata: b\n\n");
    assert!(is_pending(&mut body));
}

#[test]
fn large_data_is_split_at_its_line_ends() {
    let line = "x".repeat(BUDGET);
    let source = stream::iter([Event::data(format!("{line}\r\n{line}\n"))]);
    let frames: Vec<Bytes> = Sse::new(source)
        .into_body()
        .map(Result::unwrap)
        .collect()
        .now_or_never()
        .unwrap();
    assert_eq!(
        frames.concat(),
        format!(":\ndata: {line}\ndata: {line}\ndata: \n\n").into_bytes()
    );
}

#[test]
fn empty_items_do_not_block_the_thread() {
    let mut body = Sse::new(stream::repeat_with(Event::new))
        .keep_alive(None)
        .into_body();
    assert_eq!(frame(&mut body), ":\n");
    assert!(is_pending(&mut body));
    assert!(is_pending(&mut body));
}
