//! JSON as the data of an event, always on one line.

use serde::Serialize;

use super::{
    encode::Encoder,
    item::{Encode, IntoSourceError},
};

/// An item whose data is its value as one line of JSON, serialised straight into the response.
///
/// If the value cannot be serialised, the item fails with the error of `serde_json`. Nothing of
/// the item is sent.
///
/// ```
/// use http_sse::{EncodedEvent, Json};
///
/// #[derive(serde::Serialize)]
/// struct Delta<'a> { content: &'a str }
///
/// let event = EncodedEvent::new(Json(Delta { content: "Hi\n" }))?;
/// assert_eq!(event, "data: {\"content\":\"Hi\\n\"}\n\n");
/// # Ok::<(), http_sse::EncodeEventError<serde_json::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Json<T>(
    /// The value to serialise.
    pub T,
);

impl<T: Serialize> Encode for Json<T> {
    type Error = serde_json::Error;

    #[inline]
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), serde_json::Error> {
        encoder.json(&self.0)
    }
}

impl<E: From<Self>> IntoSourceError<E> for serde_json::Error {
    fn into_source_error(self) -> E {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use serde_json::value::RawValue;

    use super::*;
    use crate::{EncodedEvent, Event};

    #[test]
    fn raw_json_is_written_on_one_line() {
        let raw = RawValue::from_string("{\"a\":\r\n[1,\n\n2],\r\"b\":\"\\n\"}".into()).unwrap();
        let wire = "data: {\"a\":[1,2],\"b\":\"\\n\"}\n\n";
        assert_eq!(EncodedEvent::new(Json(&raw)).unwrap(), wire);
        assert_eq!(EncodedEvent::from(Event::json(&raw).unwrap()), wire);
    }

    #[test]
    fn line_ends_of_raw_json_are_removed_at_any_offset() {
        const PIECE: usize = 16 * 1024;
        for before in [PIECE - 2, PIECE - 1, PIECE, 2 * PIECE - 1, 2 * PIECE] {
            let zeros = "0,".repeat(before / 2);
            let text = format!("[{zeros}\r\n\r0\n]");
            let raw = RawValue::from_string(text).unwrap();
            let wire = format!("data: [{zeros}0]\n\n");
            assert_eq!(EncodedEvent::new(Json(&raw)).unwrap(), wire.as_str());
        }
    }

    /// A value that fails halfway through.
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
    fn a_value_that_fails_leaves_the_buffer_unchanged() {
        let mut buffer = BytesMut::from("data: before\n\n");
        crate::encode(Json(Fails), &mut buffer).unwrap_err();
        assert_eq!(buffer, "data: before\n\n");
    }

    #[test]
    fn an_event_can_continue_after_a_value_that_failed() {
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
    fn a_result_of_json_can_be_encoded() {
        let item: Result<Json<u8>, Box<dyn std::error::Error>> = Ok(Json(1));
        assert_eq!(EncodedEvent::new(item).unwrap(), "data: 1\n\n");
    }
}
