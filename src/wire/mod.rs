//! The wire format: the values of an event, their encoder and their decoder.
//!
//! Nothing here uses IO, time or tasks.

mod check;
mod decoded;
mod decoder;
mod encode;
mod encoded_event;
mod event;
mod field;
mod item;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "json")]
mod json_line;
mod output;
mod retry;

#[cfg(feature = "json")]
pub use self::json::Json;
pub use self::{
    decoded::{DecodeError, Decoded},
    decoder::Decoder,
    encode::Encoder,
    encoded_event::{EncodeEventError, EncodedEvent, InvalidEvent},
    event::Event,
    field::{EventId, EventType, InvalidField},
    item::{Encode, IntoSourceError, encode},
    retry::{InvalidRetry, Retry},
};
pub(crate) use self::{
    encode::{OPENING, comment_block},
    item::encode_to,
    output::{EndEarly, Output},
};
#[cfg(feature = "hub")]
pub(crate) use self::{
    encode::{remove_ids, set_last_id},
    output::BUDGET,
};
