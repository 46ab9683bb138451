//! The script that every client reads: 30 events, three keep-alives and a reconnection time.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use http_sse::{EncodedEvent, Event, EventId, EventType, KeepAlive, Retry, Sse};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    deadline::within,
    server::{Answer, sse},
};

/// An event, and the values that clients should read.
pub(crate) struct Step {
    event: Event,
    /// The value that a client reads if it follows the standard.
    pub(crate) read: Value,
    /// The event's own fields, without the default type and without an earlier ID.
    pub(crate) own: Value,
}

/// A form of the stream. Each differs from the first in one point, which is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// This crate's default: a comment line as keep-alive, and `retry` as a line in the opening.
    Default,
    CommentBlock,
    EventWithData,
    EventWithoutData,
    /// `retry` in the block of the first event.
    RetryInEvent,
    /// `retry` as a block of its own, which this crate never writes.
    RetryBlock,
}

impl Form {
    pub(crate) const ALL: [Self; 6] = [
        Self::Default,
        Self::CommentBlock,
        Self::EventWithData,
        Self::EventWithoutData,
        Self::RetryInEvent,
        Self::RetryBlock,
    ];

    /// Returns the bytes that are specific to this form.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::CommentBlock => "`:⏎⏎`",
            Self::EventWithData => "`event: ping⏎data: {\"type\":\"ping\"}⏎⏎`",
            Self::EventWithoutData => "`event: ping⏎⏎`",
            Self::RetryInEvent => "`retry: 1234⏎data: …⏎⏎`",
            Self::RetryBlock => "`retry: 1234⏎⏎`",
        }
    }

    pub(crate) fn keep_alive(self) -> EncodedEvent {
        match self {
            Self::CommentBlock => EncodedEvent::from_static(":\n\n"),
            Self::EventWithData => EncodedEvent::from_static(PING),
            Self::EventWithoutData => EncodedEvent::from_static("event: ping\n\n"),
            _ => EncodedEvent::from_static(":\n"),
        }
    }
}

/// The numbers of events after which a keep-alive is sent. In `plain`, the event before has an ID.
pub(crate) const SILENCES: [usize; 3] = [5, 15, 26];

/// The data of a keep-alive that is an event.
pub(crate) const PING_DATA: &str = "{\"type\":\"ping\"}";
const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
const RETRY: Retry = Retry::from_millis(1234);

/// Returns the response to one request. Appends the bytes that it sends to `sent`.
pub(crate) fn answer(form: Form, steps: Vec<Step>, sent: Arc<Mutex<Vec<u8>>>) -> Answer {
    let keep_alive = form.keep_alive();
    let bytes = keep_alive.clone().into_bytes();
    let kept_alive = Arc::new(Notify::new());
    let policy = KeepAlive::new().interval(Duration::from_millis(20));
    let response = Sse::new(source(form, steps, kept_alive.clone()))
        .keep_alive(policy.event(keep_alive))
        .end_with(Event::data("[DONE]"));
    let response = match form {
        Form::RetryInEvent | Form::RetryBlock => response,
        _ => response.retry(RETRY),
    };
    sse(response).map(|body| {
        body.map_frame(move |frame| {
            frame.map_data(|data| {
                if data == bytes {
                    kept_alive.notify_one();
                }
                let data = if form == Form::RetryBlock {
                    let text = std::str::from_utf8(&data).unwrap();
                    Bytes::from(text.replace("retry: 1234\n", "retry: 1234\n\n"))
                } else {
                    data
                };
                sent.lock().unwrap().extend_from_slice(&data);
                data
            })
        })
        .boxed_unsync()
    })
}

/// Returns the events of the script. In three places it waits until a keep-alive was sent.
fn source(
    form: Form,
    steps: Vec<Step>,
    kept_alive: Arc<Notify>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let own_block = (form == Form::RetryBlock).then(|| Event::new().retry(RETRY));
    let events = steps.into_iter().enumerate().map(move |(n, step)| match n {
        0 if form == Form::RetryInEvent => step.event.retry(RETRY),
        _ => step.event,
    });
    let events = stream::iter(events).enumerate().then(move |(n, event)| {
        let kept_alive = kept_alive.clone();
        async move {
            if SILENCES.contains(&n) {
                within("a keep-alive to be sent", kept_alive.notified()).await;
            }
            event
        }
    });
    stream::iter(own_block).chain(events).map(Ok)
}

/// Returns the general script. A client reads `[type, data, last event ID]`.
pub(crate) fn plain() -> Vec<Step> {
    let long = "x".repeat(100_000);
    let lines = "line\n".repeat(100);
    let rows = [
        ("", "the first", Some("1")),
        ("", "two\nlines", None),
        ("", "CRLF\r\nand CR\ronly", None),
        ("", "", None),
        ("named", "with an id", Some("5")),
        ("", " spaces  outside ", None),
        ("", "\ttab", None),
        ("", "ends with LF\n", None),
        ("", "\n\n", None),
        ("named", "has: a colon", None),
        ("näme ☃", "é ☃ 😀 日本語", None),
        ("", "\u{2028} \u{2029} \u{85} \u{b} \u{c} \u{1c} .", None),
        ("", "\u{feff}not at the start", None),
        ("", "a\0b", None),
        ("", "{\"json\": [true]}", Some("a.b_c~d-15")),
        ("", "data: x\nid: 99\nevent: y", None),
        ("", ": no comment", None),
        ("", &long, None),
        ("", "a number", Some("18446744073709551615")),
        ("named", "the id is reset", Some("")),
        ("", "without an id", None),
        ("", "non-ASCII id", Some("ü☃")),
        ("", &lines, None),
        ("", "\u{10ffff}", None),
        ("", "25", Some("25")),
        ("", "26", Some("26")),
        ("", "27", Some("27")),
        ("", "28", None),
        ("named", "29", Some("29")),
    ];
    let mut last = "";
    let step = |(event_type, data, id): (&'static str, &str, Option<&'static str>)| {
        let mut event = Event::data(data.to_owned());
        if !event_type.is_empty() {
            event = event.event_type(EventType::from_static(event_type));
        }
        if let Some(id) = id {
            event = event.id(EventId::from_static(id));
            last = id;
        }
        if data == "without an id" {
            event = event.comment("an aside");
        }
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        let own = json!([event_type, data, id.unwrap_or_default()]);
        let event_type = if event_type.is_empty() {
            "message"
        } else {
            event_type
        };
        let read = json!([event_type, data, last]);
        Step { event, read, own }
    };
    rows.map(step).into()
}

/// Returns the script as a response of OpenAI's chat completions. A client reads pieces of text.
pub(crate) fn openai() -> Vec<Step> {
    let step = |(n, text): (usize, &str)| {
        let chunk = json!({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }],
        });
        let event = match n {
            5 => Event::data(format!("{chunk:#}")), // on several lines
            6 => Event::data(chunk.to_string()).event_type(EventType::from_static("named")),
            _ => Event::data(chunk.to_string()),
        };
        Step {
            event: with_some_ids(event, n),
            read: json!(text),
            own: json!(text),
        }
    };
    texts().into_iter().enumerate().map(step).collect()
}

/// Returns the script as a response of Anthropic's messages. A client reads `[type, text]`.
pub(crate) fn anthropic() -> Vec<Step> {
    let message = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": { "input_tokens": 1, "output_tokens": 1 },
    });
    let mut events = vec![
        json!({ "type": "message_start", "message": message }),
        json!({
            "type": "content_block_start", "index": 0,
            "content_block": { "type": "text", "text": "" },
        }),
    ];
    events.extend(texts()[..24].iter().map(|text| {
        let delta = json!({ "type": "text_delta", "text": text });
        json!({ "type": "content_block_delta", "index": 0, "delta": delta })
    }));
    events.extend([
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({
            "type": "message_delta", "usage": { "output_tokens": 9 },
            "delta": { "stop_reason": "end_turn", "stop_sequence": null },
        }),
        json!({ "type": "message_stop" }),
    ]);
    let step = |(n, data): (usize, Value)| {
        let event_type = data["type"].as_str().unwrap().to_owned();
        let text = data["delta"]["text"].as_str().unwrap_or("");
        let read = json!([event_type, text]);
        let json = if n == 5 {
            format!("{data:#}")
        } else {
            data.to_string()
        };
        let event = Event::data(json).event_type(EventType::new(event_type).unwrap());
        Step {
            event: with_some_ids(event, n),
            own: read.clone(),
            read,
        }
    };
    events.into_iter().enumerate().map(step).collect()
}

fn with_some_ids(event: Event, n: usize) -> Event {
    if n % 3 == 0 { event.id(n) } else { event }
}

/// Returns 29 pieces of text.
fn texts() -> Vec<&'static str> {
    let mut texts = vec![
        "Hello",
        ", ",
        "two\nlines",
        "CRLF\r\n",
        "é ☃ 😀 日本語",
        "",
        " ",
        "\ttab",
        "\u{2028} \u{2029} \u{85} \u{b} \u{c} \u{1c} .",
        "\u{feff}",
        "a\0b",
        "data: x\n\n",
        "[DONE]",
        "\u{10ffff}",
    ];
    texts.resize(29, "and so on");
    texts
}
