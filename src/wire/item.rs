//! The items that a stream can yield, and the function that encodes one.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use bytes::BytesMut;

use super::{encode::Encoder, output::Output};

/// An item that can be encoded as events.
///
/// It is implemented for [`Event`](crate::Event), for [`EncodedEvent`](crate::EncodedEvent), and
/// for `Json<T>` with the feature `json`. It is also implemented for a `Result` of an item, if
/// [`IntoSourceError`] converts the item's error into that of the `Result`.
///
/// Implement it for your own type to write its fields straight into the response:
///
/// ```
/// use std::convert::Infallible;
/// use http_sse::{Encode, EncodedEvent, Encoder, EventType};
///
/// struct Price { cents: u32, at: u64 }
///
/// impl Encode for Price {
///     type Error = Infallible;
///
///     fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
///         const PRICE: EventType = EventType::from_static("price");
///         encoder.event_type(&PRICE);
///         encoder.id(&self.at.into());
///         encoder.data(&self.cents.to_string());
///         Ok(())
///     }
/// }
///
/// let event = EncodedEvent::new(Price { cents: 250, at: 7 })?;
/// assert_eq!(event, "event: price\nid: 7\ndata: 250\n\n");
/// # Ok::<(), http_sse::EncodeEventError<Infallible>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as an event",
    label = "does not implement `Encode`",
    note = "turn text into events with `.map(Event::data)`",
    note = "wrap a value of serde in `Json`: `.map(Json)`, with the feature `json`",
    note = "implement `http_sse::Encode` for a type of your own"
)]
pub trait Encode {
    /// The error of an item that cannot be encoded. Use [`Infallible`] if encoding never fails.
    type Error;

    /// Writes the item as one event, or as several with [`end_event`](Encoder::end_event) between
    /// them. The caller ends the last event. An item that writes nothing is skipped.
    ///
    /// # Errors
    ///
    /// Returns the item's own error. The output is then left unchanged: what the item wrote is
    /// removed.
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Self::Error>;
}

/// Encodes `item` and appends it to `buffer`, for event streams that [`Sse`](crate::Sse) does not
/// send.
///
/// # Errors
///
/// Returns the item's own error. The buffer is left unchanged.
///
/// # Panics
///
/// Panics if the item panics. The buffer is left unchanged too.
///
/// ```
/// use bytes::BytesMut;
/// use http_sse::Event;
///
/// let mut buffer = BytesMut::from(":\n");
/// http_sse::encode(Event::data("a"), &mut buffer)?;
/// http_sse::encode(Event::data("b"), &mut buffer)?;
/// assert_eq!(buffer, ":\ndata: a\n\ndata: b\n\n");
/// # Ok::<(), std::convert::Infallible>(())
/// ```
pub fn encode<T: Encode>(item: T, buffer: &mut BytesMut) -> Result<(), T::Error> {
    let length = buffer.len();
    let mut output = Output::default();
    output.swap_block(buffer);
    let encoded = catch_unwind(AssertUnwindSafe(|| encode_to(&mut output, item)));
    let encoded = encoded.unwrap_or_else(|panic| {
        output.truncate(length);
        output.swap_block(buffer);
        resume_unwind(panic)
    });
    output.join();
    output.swap_block(buffer);
    encoded.map(drop)
}

/// Encodes `item` and returns the number of events. If the item fails, the output is left
/// unchanged. If it panics, the caller must discard the bytes of the item.
///
/// Inlined, so that the compiler removes the checks of fields that a source never sets.
#[inline(always)]
pub(crate) fn encode_to<T: Encode>(output: &mut Output, item: T) -> Result<u64, T::Error> {
    let length = output.begin();
    let mut encoder = Encoder::new(output);
    match item.encode(&mut encoder) {
        Ok(()) => Ok(encoder.finish()),
        Err(error) => {
            output.roll_back(length);
            Err(error)
        }
    }
}

/// An item from a source that can fail. The item's own error becomes an error of the source.
impl<T, E> Encode for Result<T, E>
where
    T: Encode,
    T::Error: IntoSourceError<E>,
{
    type Error = E;

    #[inline]
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), E> {
        self?
            .encode(encoder)
            .map_err(IntoSourceError::into_source_error)
    }
}

/// A conversion of an item's own error into the error of its stream.
///
/// A stream of `Result<T, E>` needs it from `T::Error` into `E`. [`Infallible`] implements it for
/// every `E`. With the feature `json`, `serde_json::Error` implements it for every
/// `E: From<serde_json::Error>`.
///
/// Rust's orphan rule forbids an implementation between two foreign errors. To join those, wrap
/// one of them in your own type.
///
/// Implement it for the error of your own [`Encode`] type to yield that type in a `Result`:
///
/// ```
/// use http_sse::{Encode, Encoder, Event, IntoSourceError, Sse};
///
/// #[derive(Debug)]
/// enum AppError { Upstream, TooLong }
///
/// struct Line(String);
///
/// impl Encode for Line {
///     type Error = AppError;
///
///     fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), AppError> {
///         if self.0.len() > 80 {
///             return Err(AppError::TooLong);
///         }
///         encoder.data(&self.0);
///         Ok(())
///     }
/// }
///
/// impl IntoSourceError<AppError> for AppError {
///     fn into_source_error(self) -> AppError {
///         self
///     }
/// }
///
/// let source = futures_util::stream::iter([Ok(Line("a".into())), Err(AppError::Upstream)]);
/// let sse = Sse::new(source).on_error(|error| Event::data(format!("{error:?}")));
/// ```
#[diagnostic::on_unimplemented(
    message = "cannot convert the item's error `{Self}` into the stream's error `{E}`",
    note = "implement `http_sse::IntoSourceError<{E}>` for `{Self}`, or let the stream fail with `{Self}`"
)]
pub trait IntoSourceError<E> {
    /// Converts the item's error into the error of the stream.
    fn into_source_error(self) -> E;
}

impl<E> IntoSourceError<E> for Infallible {
    fn into_source_error(self) -> E {
        match self {}
    }
}
