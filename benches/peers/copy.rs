//! A plain copy of encoded bytes, as the lower limit of the cost.

use std::hint::black_box;

use crate::{FRAME, Payload, Peer};

/// A loop that copies the encoded bytes into a buffer of the size of a frame.
pub struct Copy;

impl Peer for Copy {
    const NAME: &'static str = "a copy of the bytes";

    fn run(payload: Payload, mut each: impl FnMut(&[u8])) {
        let wire = payload.wire();
        let mut buffer = Vec::with_capacity(FRAME + wire.len());
        for _ in 0..payload.events {
            buffer.extend_from_slice(black_box(wire.as_bytes()));
            if buffer.len() >= FRAME {
                each(&buffer);
                buffer.clear();
            }
        }
        each(&buffer);
    }
}
