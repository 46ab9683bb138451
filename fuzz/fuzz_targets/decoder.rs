//! The decoder against its naive twin: any bytes, in any pieces, with and without limits.
#![no_main]

mod naive;
mod read;

use arbitrary::Arbitrary;
use bytes::Bytes;
use http_sse::{EncodedEvent, decode::Decoder};
use libfuzzer_sys::fuzz_target;

use self::{
    naive::{Item, interpret},
    read::{cut, read},
};

/// Seven bytes of options, followed by the stream.
#[derive(Arbitrary, Debug)]
struct Input<'a> {
    sizes: [u8; 4],
    options: u8,
    max_line: u8,
    max_event: u8,
    stream: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let [all, limited, resumed] = [1, 2, 4].map(|bit| input.options & bit != 0);
    let last_event_id = if resumed { "0" } else { "" };
    let mut decoder = Decoder::new().with_last_event_id(last_event_id);
    if all {
        decoder = decoder.with_comments();
    }

    let text;
    let mut stream = input.stream;
    let mut limits = (usize::MAX, usize::MAX);
    if limited {
        // The decoder's limits count received bytes, and the twin's count decoded text. The two are
        // equal only for valid UTF-8.
        text = String::from_utf8_lossy(stream);
        stream = text.as_bytes();
        limits = (input.max_line.into(), input.max_event.into());
        decoder = decoder.max_line(limits.0).max_event(limits.1);
    }

    let mut expected = interpret(stream, last_event_id, limits.0, limits.1);
    if !all {
        expected
            .items
            .retain(|item| matches!(item, Item::Event { .. }));
    }
    for sizes in [&input.sizes.map(usize::from)[..], &[0], &[1]] {
        assert_eq!(
            read(decoder.clone(), &cut(stream, sizes)),
            expected,
            "{sizes:?}"
        );
    }

    // Bytes that are accepted as one whole event have no effect on the next event.
    if EncodedEvent::try_from(Bytes::copy_from_slice(stream)).is_ok() {
        let both = [stream, b"data: next\n\n"].concat();
        let items = interpret(&both, "", usize::MAX, usize::MAX).items;
        let mut events = items.iter().filter_map(|item| match item {
            Item::Event {
                event_type,
                data,
                id,
                ..
            } => Some((&**event_type, &**data, id)),
            _ => None,
        });
        assert_eq!(events.next_back(), Some(("message", "next", &None)));
        assert!(events.count() <= 1);
    }
});
