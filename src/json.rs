//! JSON as the data of an event, always in one line.

use std::io;

use bytes::BytesMut;
use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

use crate::encode::{Encode, Encoder};

/// An item whose data is its value as one line of JSON, serialised straight into the response.
///
/// ```
/// use http_sse::{EncodedEvent, Json};
///
/// #[derive(serde::Serialize)]
/// struct Delta<'a> { content: &'a str }
///
/// let event = EncodedEvent::new(Json(Delta { content: "Hi\n" }))?;
/// assert_eq!(event, "data: {\"content\":\"Hi\\n\"}\n\n");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Json<T>(
    /// The value.
    pub T,
);

impl<T: Serialize> Encode for Json<T> {
    type Error = serde_json::Error;

    #[inline]
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), serde_json::Error> {
        encoder.json(&self.0)
    }
}

/// A `Json<T>` from a source that can fail with an error that those of JSON turn into.
impl<T: Serialize, E: From<serde_json::Error>> Encode for Result<Json<T>, E> {
    type Error = E;

    #[inline]
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), E> {
        Ok(self?.encode(encoder)?)
    }
}

/// Appends `value` to `block`; what was written of it stays there if it fails.
pub(crate) fn write_line<T: Serialize + ?Sized>(
    block: &mut BytesMut,
    value: &T,
) -> Result<(), serde_json::Error> {
    value.serialize(&mut Serializer::with_formatter(Writer(block), OneLine))
}

/// `value` as one line of text.
pub(crate) fn to_line<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let mut line = BytesMut::with_capacity(128);
    write_line(&mut line, value)?;
    String::from_utf8(line.into()).map_err(serde::ser::Error::custom)
}

/// Compact JSON has no line end, but a `RawValue` is written as it was read: with any white
/// space. Line ends outside strings are white space, and inside strings they are escaped, so
/// dropping them changes no value.
struct OneLine;

impl Formatter for OneLine {
    fn write_raw_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        fragment
            .split(['\r', '\n'])
            .try_for_each(|part| writer.write_all(part.as_bytes()))
    }
}

struct Writer<'a>(&'a mut BytesMut);

impl io::Write for Writer<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::{EncodedEvent, Event};

    #[test]
    fn raw_json_stays_in_one_line() {
        let raw = RawValue::from_string("{\"a\":\r\n[1,\n\n2],\r\"b\":\"\\n\"}".into()).unwrap();
        let wire = "data: {\"a\":[1,2],\"b\":\"\\n\"}\n\n";
        assert_eq!(EncodedEvent::new(Json(&raw)).unwrap(), wire);
        assert_eq!(EncodedEvent::from(Event::json(&raw).unwrap()), wire);
    }

    /// Fails when it is half written.
    struct Fails;

    impl Serialize for Fails {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::{Error as _, SerializeSeq as _};

            let mut seq = serializer.serialize_seq(None)?;
            seq.serialize_element(&1)?;
            Err(S::Error::custom("no more"))
        }
    }

    #[test]
    fn a_value_that_fails_leaves_nothing() {
        let mut buffer = BytesMut::from("data: before\n\n");
        crate::encode(Json(Fails), &mut buffer).unwrap_err();
        assert_eq!(buffer, "data: before\n\n");
    }

    #[test]
    fn an_event_goes_on_after_a_value_that_failed() {
        struct Item;

        impl Encode for Item {
            type Error = std::convert::Infallible;

            fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Self::Error> {
                encoder.id(&1.into());
                encoder.json(&Fails).unwrap_err();
                encoder.data("null");
                Ok(())
            }
        }

        assert_eq!(EncodedEvent::new(Item).unwrap(), "id: 1\ndata: null\n\n");
    }

    #[test]
    fn a_result_of_json_is_an_item() {
        let item: Result<Json<u8>, Box<dyn std::error::Error>> = Ok(Json(1));
        assert_eq!(EncodedEvent::new(item).unwrap(), "data: 1\n\n");
    }
}
