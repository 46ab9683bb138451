//! Values of the public interface, which return the settings and errors that they were given.

use std::{collections::HashSet, convert::Infallible, error::Error, sync::mpsc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderValue, StatusCode, header::SET_COOKIE};
use http_sse::{
    CloseReason, Encode, EncodeEventError, EncodedEvent, Encoder, Event, EventId, EventType,
    IntoSourceError, InvalidField, KeepAlive, Retry, Sse,
    hub::{AppendError, EventLogError, Position, PublishError, ResetReason},
};

#[test]
fn an_event_returns_its_fields() {
    const TYPE: EventType = EventType::from_static("t");

    let event = Event::data("d").event_type(TYPE).id(7);
    let event = event.retry(Retry::from_millis(5)).comment("c");
    assert_eq!(event.as_data(), Some("d"));
    assert_eq!(event.as_event_type(), Some(&TYPE));
    assert_eq!(event.as_id(), Some(&EventId::from(7)));
    assert_eq!(event.as_retry(), Some(Retry::from_millis(5)));
    assert_eq!(event.as_comments(), Some("c"));

    let empty = Event::new();
    assert_eq!(empty.as_data(), None);
    assert_eq!(empty.as_event_type(), None);
    assert_eq!(empty.as_id(), None);
    assert_eq!(empty.as_retry(), None);
    assert_eq!(empty.as_comments(), None);
}

#[test]
fn an_event_type_is_parsed_from_legal_text_only() {
    let parsed: EventType = "t".parse().unwrap();
    let borrowed = EventType::try_from("t").unwrap();
    let owned = EventType::try_from("t".to_owned()).unwrap();
    for event_type in [parsed, borrowed, owned] {
        assert_eq!(event_type.as_str(), "t");
        assert_eq!(AsRef::<str>::as_ref(&event_type), "t");
        assert_eq!(event_type.to_string(), "t");
    }

    let assert_invalid = |error: InvalidField| {
        assert_eq!((error.field(), error.character()), ("event", '\n'));
        assert_eq!((error.offset(), &*error.into_value()), (1, "a\n"));
    };
    assert_invalid("a\n".parse::<EventType>().unwrap_err());
    assert_invalid(EventType::try_from("a\n").unwrap_err());
    assert_invalid(EventType::try_from("a\n".to_owned()).unwrap_err());
}

#[test]
fn an_id_is_parsed_from_legal_text_only() {
    let parsed: EventId = "a".parse().unwrap();
    let borrowed = EventId::try_from("a").unwrap();
    let owned = EventId::try_from("a".to_owned()).unwrap();
    for id in [parsed, borrowed, owned] {
        assert_eq!(id.to_str(), "a");
        assert_eq!(id.to_string(), "a");
    }

    let assert_invalid = |error: InvalidField| {
        assert_eq!((error.field(), error.character()), ("id", '\0'));
        assert_eq!((error.offset(), &*error.into_value()), (1, "a\0"));
    };
    assert_invalid("a\0".parse::<EventId>().unwrap_err());
    assert_invalid(EventId::try_from("a\0").unwrap_err());
    assert_invalid(EventId::try_from("a\0".to_owned()).unwrap_err());
}

#[test]
fn a_number_equals_the_id_of_its_digits() {
    assert_eq!(EventId::from(7).to_str(), "7");
    assert_eq!(EventId::from(-7).to_str(), "-7");
    assert_eq!(EventId::from(7), EventId::from_static("7"));
    assert_ne!(EventId::from(7), EventId::from_static("07"));
    let ids = HashSet::from([EventId::from(7)]);
    assert!(ids.contains(&EventId::from_static("7")), "it hashes alike");
    let ids = HashSet::from([EventId::from_static("7")]);
    assert!(ids.contains(&EventId::from(7)), "it hashes alike");
}

#[test]
fn a_keep_alive_returns_its_interval_and_bytes() {
    assert_eq!(KeepAlive::new().as_interval(), Duration::from_secs(15));
    assert_eq!(KeepAlive::new().as_bytes(), b":\n");

    let keep_alive = KeepAlive::new().interval(Duration::from_secs(3));
    assert_eq!(keep_alive.as_interval(), Duration::from_secs(3));
    assert_eq!(keep_alive.comment("k").as_bytes(), b": k\n");
}

#[test]
fn a_response_has_the_status_and_the_headers_that_were_set() {
    let cookie = HeaderValue::from_static;
    let sse = Sse::new(stream::pending::<Event>())
        .header(SET_COOKIE, cookie("replaced=1"))
        .header(SET_COOKIE, cookie("a=1"))
        .append_header(SET_COOKIE, cookie("b=2"))
        .status(StatusCode::ACCEPTED);
    let response = sse.into_response();
    assert_eq!(response.status(), 202);
    let cookies: Vec<_> = response.headers().get_all(SET_COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
}

/// An error type of both a source and its items.
#[derive(Debug, PartialEq)]
enum AppError {
    Upstream,
    TooLong,
}

impl IntoSourceError<Self> for AppError {
    fn into_source_error(self) -> Self {
        self
    }
}

/// An item that may fail.
struct Line(String);

impl Encode for Line {
    type Error = AppError;

    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), AppError> {
        encoder.data(&self.0);
        if self.0.len() > 80 {
            return Err(AppError::TooLong);
        }
        Ok(())
    }
}

#[test]
fn items_and_their_stream_can_share_an_error_type() {
    let long = || Ok(Line("x".repeat(81)));
    for (last, error) in [
        (long(), AppError::TooLong),
        (Err(AppError::Upstream), AppError::Upstream),
    ] {
        let (sender, reasons) = mpsc::channel();
        let source = stream::iter([Ok(Line("a".into())), last, Ok(Line("b".into()))]);
        let sse = Sse::new(source).keep_alive(None);
        let sse = sse.on_close(move |report| _ = sender.send(report.reason));
        let mut body = sse.into_body();
        let frame = body.next().now_or_never().flatten().unwrap();
        assert_eq!(frame.unwrap(), ":\ndata: a\n\n");
        assert_eq!(body.next().now_or_never(), None, "the connection's turn");
        assert_eq!(body.next().now_or_never(), Some(Some(Err(error))));
        assert_eq!(reasons.try_iter().collect::<Vec<_>>(), [CloseReason::Error]);
    }

    let source = stream::iter([Ok(Line("a".into())), long()]);
    let sse = Sse::new(source).on_error(|error| Event::data(format!("{error:?}")));
    let mut body = sse.into_body();
    let frame = body.next().now_or_never().flatten().unwrap();
    assert_eq!(frame.unwrap(), ":\ndata: a\n\ndata: TooLong\n\n");
}

#[test]
fn an_infallible_item_has_the_error_of_its_stream() {
    struct Tick;

    impl Encode for Tick {
        type Error = Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
            encoder.data("tick");
            Ok(())
        }
    }

    let source = stream::iter([Ok(Tick), Err(AppError::Upstream)]);
    let mut body = Sse::new(source).keep_alive(None).into_body();
    let frame = body.next().now_or_never().flatten().unwrap();
    assert_eq!(frame.unwrap(), ":\ndata: tick\n\n");
    assert_eq!(body.next().now_or_never(), None, "the connection's turn");
    let error = body.next().now_or_never();
    assert_eq!(error, Some(Some(Err(AppError::Upstream))));
}

#[test]
fn an_encoded_event_is_one_event_or_an_error() {
    struct Items(&'static [&'static str]);

    impl Encode for Items {
        type Error = Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Self::Error> {
            for item in self.0 {
                match item.strip_prefix(':') {
                    Some(comment) => encoder.comment(comment),
                    None => encoder.data(item),
                }
                encoder.end_event();
            }
            Ok(())
        }
    }

    for (items, wire, events) in [
        (&["a"][..], Some("data: a\n\n"), 1),
        (&[":b", "a"], Some(": b\ndata: a\n\n"), 1),
        (&[":b"], Some(": b\n"), 0),
        (&[], None, 0),
        (&["a", "b"], None, 0),
        (&["a", ":b"], None, 0),
    ] {
        let encoded = EncodedEvent::new(Items(items));
        let Some(wire) = wire else {
            assert_eq!(encoded, Err(EncodeEventError::NotOneEvent), "{items:?}");
            continue;
        };
        let encoded = encoded.unwrap();
        assert_eq!(encoded.as_bytes(), wire.as_bytes());
        let again = EncodedEvent::try_from(encoded.clone().into_bytes());
        assert_eq!(again.unwrap().as_bytes(), wire.as_bytes());

        let (sender, counts) = mpsc::channel();
        let sse = Sse::new(stream::iter([encoded])).on_close(move |report| {
            sender.send(report.events).unwrap();
        });
        drop(sse.into_body().next().now_or_never());
        assert_eq!(counts.try_recv(), Ok(events), "{items:?}");
    }
    let empty = EncodedEvent::from(Event::new());
    assert_eq!(empty.as_bytes(), b":\n");
    let again = EncodedEvent::try_from(empty.into_bytes()).unwrap();
    assert_eq!(again.as_bytes(), b":\n");
}

#[test]
fn a_comment_and_a_large_event_are_encoded_as_one() {
    struct Commented(EncodedEvent);

    impl Encode for Commented {
        type Error = Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
            encoder.comment("c");
            self.0.encode(encoder)
        }
    }

    let text = "x".repeat(64 * 1024);
    let event = EncodedEvent::from(Event::data(text.clone()));
    let both = EncodedEvent::new(Commented(event)).unwrap();
    assert!(both.as_bytes() == format!(": c\ndata: {text}\n\n").as_bytes());
}

#[test]
fn errors_say_what_is_wrong() {
    type Unencoded = EncodeEventError<axum::Error>;
    type Unpublished = PublishError<axum::Error>;

    const NOT_ONE: &str = "the item wrote nothing, or wrote more after its first event";
    const RETRY: &str = "the caller's `retry` of 0 ms is not in 1 to 2147483647 ms";

    let retry = || Retry::new(Duration::ZERO).unwrap_err();
    let bytes = EncodedEvent::try_from(Bytes::from("data: a")).unwrap_err();
    let position = "7".parse::<Position>().unwrap_err();
    let append =
        |error: fn(EventLogError) -> AppendError| Unpublished::Append(error("full".into()));
    let errors: [(Box<dyn Error>, &str); 11] = [
        (retry().into(), RETRY),
        (Unencoded::Encode(axum::Error::new(retry())).into(), RETRY),
        (Unencoded::NotOneEvent.into(), NOT_ONE),
        (
            bytes.into(),
            "the caller's bytes are not one whole event: invalid from byte 7",
        ),
        (
            position.into(),
            "the caller's text is not a position of the form `hi-lo`",
        ),
        (Unpublished::Encode(axum::Error::new(retry())).into(), RETRY),
        (Unpublished::NotOneEvent.into(), NOT_ONE),
        (
            append(AppendError::NotWritten).into(),
            "the log did not store the event: full",
        ),
        (
            append(AppendError::Unknown).into(),
            "the log may have stored the event: full",
        ),
        (
            Unpublished::Finished.into(),
            "the server has finished the topic",
        ),
        (Unpublished::Closed.into(), "the server has closed the hub"),
    ];
    for (error, text) in errors {
        assert_eq!(error.to_string(), text);
        // A source has the same text here.
        if let Some(source) = error.source() {
            assert_eq!(source.to_string(), text);
        }
    }
    assert_eq!(ResetReason::Expired.to_string(), "expired");
    let failed = Unencoded::Encode(axum::Error::new(retry()));
    assert!(failed.source().is_some());
    assert!(append(AppendError::Rejected).source().is_some());
}

#[test]
fn a_body_is_sync_if_its_source_is() {
    fn assert_sync<T: Sync + Send + 'static>(_: &T) {}

    let sse = Sse::new(stream::pending::<Result<Event, &'static str>>());
    let body = sse.on_error(Event::data).on_close(drop).into_body();
    assert_sync(&body);
    drop(http_body_util::BodyExt::boxed(body));
}
