//! The output of the crate's decoder, in the form that its twin returns.

use std::{convert::Infallible, iter};

use bytes::Buf as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{
    Event,
    decode::{DecodeError, Decoded, Decoder, EventsError, events},
};

use crate::naive::{Item, Outcome, TooLong};

/// Cuts the bytes into pieces of these sizes, which repeat. Some pieces may be empty.
pub fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    if sizes.iter().all(|&size| size == 0) {
        return vec![bytes];
    }
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    iter::from_fn(|| {
        let (piece, after) = rest.split_at(rest.len().min(*sizes.next()?));
        let ended = rest.is_empty();
        rest = after;
        (!ended).then_some(piece)
    })
    .collect()
}

/// Decodes the pieces. Asserts that a stream of the same pieces yields the same events.
pub fn read(mut decoder: Decoder, pieces: &[&[u8]]) -> Outcome {
    let as_stream = read_as_stream(decoder.clone(), pieces);
    let mut outcome = Outcome::default();
    let mut sent_on = Vec::new();
    'pieces: for mut piece in pieces.iter().copied() {
        loop {
            match decoder.decode(&mut piece) {
                Ok(None) => break,
                Ok(Some(decoded)) => {
                    sent_on.push(decoded.clone().into());
                    outcome.items.push(item(decoded));
                }
                Err(error) => {
                    outcome.error = Some(too_long(error));
                    assert_eq!(
                        decoder.decode(&mut &b"\n"[..]),
                        Err(error),
                        "an error is repeated"
                    );
                    break 'pieces;
                }
            }
        }
        assert!(piece.is_empty(), "a piece is consumed to its end");
    }
    outcome.last_event_id = decoder.last_event_id().to_owned();
    assert_eq!(as_stream, (sent_on, outcome.error));
    outcome
}

/// Decodes the pieces with [`events`]. Each piece is a chain of two buffers.
fn read_as_stream(decoder: Decoder, pieces: &[&[u8]]) -> (Vec<Event>, Option<TooLong>) {
    let bodies = pieces.iter().map(|piece| {
        let (front, back) = piece.split_at(piece.len() / 2);
        Ok::<_, Infallible>(front.chain(back))
    });
    let mut sent_on = Vec::new();
    let mut error = None;
    let mut all = events(stream::iter(bodies), decoder);
    loop {
        let event = match all.next().now_or_never() {
            Some(Some(event)) => event,
            Some(None) => break,
            None => continue, // it yields to other tasks after many pieces without an event
        };
        assert_eq!(error, None, "nothing follows an error");
        match event {
            Ok(event) => sent_on.push(event),
            Err(EventsError::Decode(why)) => error = Some(too_long(why)),
            Err(why) => panic!("{why:?}"),
        }
    }
    (sent_on, error)
}

fn item(decoded: Decoded<'_>) -> Item {
    match decoded {
        Decoded::Event {
            event_type,
            data,
            id,
            last_event_id,
            ..
        } => Item::Event {
            event_type: event_type.to_owned(),
            data: data.into_owned(),
            id: id.map(str::to_owned),
            last_event_id: last_event_id.to_owned(),
        },
        Decoded::Comment(text) => Item::Comment(text.into_owned()),
        Decoded::Retry(time) => {
            Item::Retry(time.as_millis().try_into().expect("it was parsed as a u64"))
        }
        Decoded::Id(id) => Item::Id(id.to_owned()),
        other => panic!("unknown item {other:?}"),
    }
}

fn too_long(error: DecodeError) -> TooLong {
    match error {
        DecodeError::LineTooLong(_) => TooLong::Line,
        DecodeError::EventTooLong(_) => TooLong::Event,
        other => panic!("{other:?}"),
    }
}
