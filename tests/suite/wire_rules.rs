//! The table of rules of the wire format. A change to the format changes a row here first.
//!
//! A rule has an ID that tests and comments cite, a sentence, and cases. A case is literal bytes
//! that `wire.rs` encodes or `conformance` decodes. A rule names tests for behaviour that no case
//! can show. `wire.rs` fails if a rule has neither cases nor tests, if a named test does not exist,
//! and if a file cites an unknown rule.

use std::time::Duration;

use http_sse::{Event, EventId, EventType, Retry};

/// A rule, with cases of its own type.
pub(crate) struct Rule<C> {
    /// `E` for the encoder, `D` for the decoder, `R` for responses. Missing numbers were withdrawn.
    /// A number is never used again.
    pub(crate) id: &'static str,
    pub(crate) says: &'static str,
    /// Names of tests, in this package or another of the workspace.
    pub(crate) shown_by: &'static [&'static str],
    pub(crate) cases: C,
}

/// A description, an event, and its bytes. The prefix `peers:` marks cases that other encoders get
/// wrong.
pub(crate) type Encoded = (&'static str, Event, &'static str);

/// A description, a stream, and the type, data and last event ID of each dispatched event.
pub(crate) type Decoded = (
    &'static str,
    &'static [u8],
    &'static [(&'static str, &'static str, &'static str)],
);

pub(crate) const TICK: EventType = EventType::from_static("tick");

/// Returns the rules of the encoder.
pub(crate) fn encoder() -> Vec<Rule<Vec<Encoded>>> {
    vec![
        Rule {
            id: "E1",
            says: "The output is UTF-8 and never starts with a byte order mark.",
            shown_by: &["a_stream_opens_with_a_comment_line"],
            cases: vec![
                (
                    "UTF-8 is unchanged",
                    Event::data("é ☃ 🦀"),
                    "data: é ☃ 🦀\n\n",
                ),
                (
                    "a BOM in data is data",
                    Event::data("\u{feff}a"),
                    "data: \u{feff}a\n\n",
                ),
            ],
        },
        Rule {
            id: "E2",
            says: "An event ends with an empty line.",
            shown_by: &[],
            cases: vec![(
                "an event ends with an empty line",
                Event::data("a"),
                "data: a\n\n",
            )],
        },
        Rule {
            id: "E3",
            says: "Every line ends with LF. In data, LF, CR and CRLF each end a line.",
            shown_by: &["line_ends_are_found_wherever_they_are"],
            cases: vec![
                (
                    "LF ends a line",
                    Event::data("a\nb"),
                    "data: a\ndata: b\n\n",
                ),
                (
                    "peers: a lone CR ends a line",
                    Event::data("a\rb"),
                    "data: a\ndata: b\n\n",
                ),
            ],
        },
        Rule {
            id: "E4",
            says: "No field and no comment contains CR or LF. A line end in data or in a comment begins another line. An ID or event type that contains one is rejected.",
            shown_by: &["an_id_or_event_type_that_would_break_the_wire_is_refused"],
            cases: vec![
                (
                    "peers: a CR injects no field",
                    Event::data("a\rid: 1\r\rdata: b"),
                    "data: a\ndata: id: 1\ndata: \ndata: data: b\n\n",
                ),
                (
                    "peers: a comment of several lines",
                    Event::new().comment("a\rdata: b\r\n\nc"),
                    ": a\n: data: b\n: \n: c\n",
                ),
                ("an empty comment", Event::new().comment(""), ":\n"),
                (
                    "a comment beside data",
                    Event::data("a").comment("c").comment("d"),
                    ": c\n: d\ndata: a\n\n",
                ),
                (
                    "a comment after one that ends with a CR",
                    Event::new().comment("a\r").comment("b"),
                    ": a\n: \n: b\n",
                ),
                (
                    "NUL and BOM in a comment",
                    Event::new().comment("\0\u{feff}"),
                    ": \0\u{feff}\n",
                ),
            ],
        },
        Rule {
            id: "E5",
            says: "Data has one `data` line for each of its lines. CRLF is one line end.",
            shown_by: &["events_come_back_as_they_were_sent"],
            cases: vec![
                (
                    "peers: CRLF is one line end",
                    Event::data("a\r\nb"),
                    "data: a\ndata: b\n\n",
                ),
                (
                    "CR CR LF LF are three line ends",
                    Event::data("a\r\r\n\nb"),
                    "data: a\ndata: \ndata: \ndata: b\n\n",
                ),
                (
                    "LF CR are two line ends",
                    Event::data("a\n\rb"),
                    "data: a\ndata: \ndata: b\n\n",
                ),
                (
                    "JSON is one line",
                    Event::json(&"a\r\nb").unwrap(),
                    "data: \"a\\r\\nb\"\n\n",
                ),
                ("bytes as base64", Event::base64([0, 255]), "data: AP8=\n\n"),
            ],
        },
        Rule {
            id: "E6",
            says: "One space follows the colon, so that clients keep the spaces of the value.",
            shown_by: &[],
            cases: vec![
                (
                    "peers: a leading space stays",
                    Event::data(" a"),
                    "data:  a\n\n",
                ),
                ("a leading tab stays", Event::data("\ta"), "data: \ta\n\n"),
                ("trailing spaces stay", Event::data("a  "), "data: a  \n\n"),
                ("a leading colon stays", Event::data(":a"), "data: :a\n\n"),
            ],
        },
        Rule {
            id: "E7",
            says: "Empty data is one empty `data` line. An event without data has no `data` line.",
            shown_by: &[],
            cases: vec![
                ("peers: empty data is data", Event::data(""), "data: \n\n"),
                ("no data", Event::new().id(1), "id: 1\n\n"),
                ("nothing", Event::new(), ""),
            ],
        },
        Rule {
            id: "E8",
            says: "A line end at the end of data adds an empty `data` line, because clients drop one LF.",
            shown_by: &[],
            cases: vec![
                (
                    "peers: a trailing LF arrives",
                    Event::data("a\n"),
                    "data: a\ndata: \n\n",
                ),
                (
                    "peers: a trailing CRLF arrives",
                    Event::data("a\r\n"),
                    "data: a\ndata: \n\n",
                ),
                (
                    "peers: a trailing CR arrives",
                    Event::data("a\r"),
                    "data: a\ndata: \n\n",
                ),
                (
                    "two trailing LFs",
                    Event::data("a\n\n"),
                    "data: a\ndata: \ndata: \n\n",
                ),
                ("LF alone", Event::data("\n"), "data: \ndata: \n\n"),
            ],
        },
        Rule {
            id: "E9",
            says: "An event type applies to one event. Clients use `message` for an event without one.",
            shown_by: &[],
            cases: vec![
                (
                    "an event type",
                    Event::data("a").event_type(TICK),
                    "event: tick\ndata: a\n\n",
                ),
                (
                    "`message` may be set",
                    Event::data("a").event_type(event_type("message")),
                    "event: message\ndata: a\n\n",
                ),
                (
                    "an empty event type",
                    Event::data("a").event_type(event_type("")),
                    "event: \ndata: a\n\n",
                ),
                (
                    "a NUL in an event type is legal",
                    Event::data("a").event_type(event_type("\0")),
                    "event: \0\ndata: a\n\n",
                ),
                (
                    "outer spaces of an event type stay",
                    Event::data("a").event_type(event_type(" t ")),
                    "event:  t \ndata: a\n\n",
                ),
                (
                    "an event type alone",
                    Event::new().event_type(TICK),
                    "event: tick\n\n",
                ),
            ],
        },
        Rule {
            id: "E10",
            says: "An ID contains no CR, LF or NUL. All other text is written unchanged. An empty ID resets the last event ID.",
            shown_by: &["an_id_or_event_type_that_would_break_the_wire_is_refused"],
            cases: vec![
                (
                    "an id",
                    Event::data("a").id(id("7-3")),
                    "id: 7-3\ndata: a\n\n",
                ),
                (
                    "a number as id",
                    Event::data("a").id(7_u64),
                    "id: 7\ndata: a\n\n",
                ),
                (
                    "a negative number as id",
                    Event::data("a").id(-7),
                    "id: -7\ndata: a\n\n",
                ),
                (
                    "an empty id resets",
                    Event::data("a").id(id("")),
                    "id: \ndata: a\n\n",
                ),
                (
                    "an id that is not portable",
                    Event::data("a").id(id(" é\u{1} ")),
                    "id:  é\u{1} \ndata: a\n\n",
                ),
            ],
        },
        Rule {
            id: "E11",
            says: "An ID without data is written too. With an event type and empty data, all clients commit it.",
            shown_by: &[],
            cases: vec![(
                "an id that all clients commit",
                Event::data("").event_type(event_type("id")).id(7),
                "event: id\nid: 7\ndata: \n\n",
            )],
        },
        Rule {
            id: "E12",
            says: "A reconnection time is 1 to 2147483647 ms, in ASCII digits.",
            shown_by: &["a_retry_that_clients_misread_is_refused"],
            cases: vec![
                (
                    "the shortest retry",
                    Event::data("a").retry(retry(1)),
                    "retry: 1\ndata: a\n\n",
                ),
                (
                    "the longest retry",
                    Event::data("a").retry(retry(2_147_483_647)),
                    "retry: 2147483647\ndata: a\n\n",
                ),
                (
                    "parts of a millisecond are dropped",
                    Event::data("a").retry(Retry::new(Duration::from_micros(1_999)).unwrap()),
                    "retry: 1\ndata: a\n\n",
                ),
            ],
        },
        Rule {
            id: "E13",
            says: "A reconnection time alone is a line without an empty line after it.",
            shown_by: &[],
            cases: vec![(
                "retry does not end a block",
                Event::new().retry(retry(3000)),
                "retry: 3000\n",
            )],
        },
        Rule {
            id: "E14",
            says: "A comment alone is a line without an empty line after it. A keep-alive can be a comment line, a comment block or an event.",
            shown_by: &["a_keep_alive_is_these_bytes"],
            cases: vec![(
                "a comment does not end a block",
                Event::new().comment("c"),
                ": c\n",
            )],
        },
        Rule {
            id: "E15",
            says: "A keep-alive that is an event contains data, because some clients fail without.",
            shown_by: &["a_keep_alive_is_these_bytes"],
            cases: vec![],
        },
        Rule {
            id: "E16",
            says: "Fields have one order, whatever the order of the calls. The last ID and the last event type count.",
            shown_by: &[],
            cases: vec![
                (
                    "every field, in this order",
                    Event::data("a\nb")
                        .comment("c")
                        .retry(retry(5))
                        .id(1)
                        .event_type(TICK),
                    ": c\nevent: tick\nid: 1\nretry: 5\ndata: a\ndata: b\n\n",
                ),
                (
                    "the last of two ids",
                    Event::data("a").id(1).id(2),
                    "id: 2\ndata: a\n\n",
                ),
                (
                    "the last of two event types",
                    Event::data("a")
                        .event_type(TICK)
                        .event_type(event_type("t")),
                    "event: t\ndata: a\n\n",
                ),
            ],
        },
        Rule {
            id: "E17",
            says: "An idle stream sends a keep-alive every 15 s, unless configured otherwise.",
            shown_by: &[
                "a_keep_alive_is_these_bytes",
                "the_first_keep_alive_is_one_interval_after_the_opening",
            ],
            cases: vec![],
        },
        Rule {
            id: "E18",
            says: "Only CR and LF end a line. NUL, VT, FF, U+0085, U+2028 and U+2029 are ordinary characters in data.",
            shown_by: &[],
            cases: vec![
                (
                    "other line separators do not end a line",
                    Event::data("a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f"),
                    "data: a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f\n\n",
                ),
                (
                    "peers: NUL in data arrives",
                    Event::data("a\0b"),
                    "data: a\0b\n\n",
                ),
            ],
        },
    ]
}

/// The rules of the decoder.
pub(crate) const DECODER: &[Rule<&[Decoded]>] = &[
    Rule {
        id: "D1",
        says: "Invalid UTF-8 becomes U+FFFD. One byte order mark at the start of the stream is dropped.",
        shown_by: &[],
        cases: &[
            (
                "a byte that is not UTF-8",
                b"data: a\xffb\n\n",
                &[("message", "a\u{fffd}b", "")],
            ),
            (
                "the maximal subpart of a sequence",
                b"data: \xe2\x82x\xf0\x9f\n\n",
                &[("message", "\u{fffd}x\u{fffd}", "")],
            ),
            (
                "a sequence that a line end interrupts",
                b"data: \xe2\x82\n\n",
                &[("message", "\u{fffd}", "")],
            ),
            (
                "an id that is not UTF-8",
                b"id: \xff\ndata\n\n",
                &[("message", "", "\u{fffd}")],
            ),
            (
                "one byte order mark",
                b"\xef\xbb\xbfdata: a\n\n",
                &[("message", "a", "")],
            ),
            (
                "two byte order marks",
                b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n",
                &[("message", "b", "")],
            ),
            (
                "a byte order mark later",
                b"data: a\n\n\xef\xbb\xbfdata: b\n\n",
                &[("message", "a", "")],
            ),
            (
                "half a byte order mark",
                b"\xef\xbbdata: a\n\ndata: b\n\n",
                &[("message", "b", "")],
            ),
            (
                "a byte order mark in data",
                b"data: \xef\xbb\xbf\n\n",
                &[("message", "\u{feff}", "")],
            ),
        ],
    },
    Rule {
        id: "D2",
        says: "LF, CR and CRLF each end a line, also if a CRLF is split between two pieces.",
        shown_by: &[],
        cases: &[
            ("LF", b"data: a\ndata: b\n\n", &[("message", "a\nb", "")]),
            ("CR", b"data: a\rdata: b\r\r", &[("message", "a\nb", "")]),
            (
                "CRLF",
                b"data: a\r\ndata: b\r\n\r\n",
                &[("message", "a\nb", "")],
            ),
            (
                "LF CR is two line ends",
                b"data: a\n\rdata: b\n\n",
                &[("message", "a", ""), ("message", "b", "")],
            ),
            (
                "CR CRLF is two line ends",
                b"data: a\r\r\ndata: b\n\n",
                &[("message", "a", ""), ("message", "b", "")],
            ),
            (
                "other line ends are text",
                "data: a\u{2028}\u{85}\u{b}\u{c}b\n\n".as_bytes(),
                &[("message", "a\u{2028}\u{85}\u{b}\u{c}b", "")],
            ),
        ],
    },
    Rule {
        id: "D3",
        says: "A colon ends the name of a field. One space after it is dropped. Unknown fields are ignored. A `retry` value is ASCII digits only.",
        shown_by: &["a_reconnection_time_is_digits_and_acts_at_once"],
        cases: &[
            (
                "one space is dropped",
                b"data:a\ndata: b\ndata:  c\ndata:\td\n\n",
                &[("message", "a\nb\n c\n\td", "")],
            ),
            (
                "a field without a colon",
                b"data\n\n",
                &[("message", "", "")],
            ),
            (
                "a colon in a value",
                b"data: a: b\ndata::c\n\n",
                &[("message", "a: b\n:c", "")],
            ),
            (
                "unknown fields",
                b"Data: a\n data: b\ndata : c\ndatas: d\nfoo\ndata: e\n\n",
                &[("message", "e", "")],
            ),
            (
                "comments",
                b":a\ndata: a\n: data: b\n:\n\n",
                &[("message", "a", "")],
            ),
        ],
    },
    Rule {
        id: "D4",
        says: "An event is dispatched if it has data, also if the data is empty. LF joins its lines.",
        shown_by: &[],
        cases: &[
            (
                "empty data",
                b"data:\n\ndata: \n\n",
                &[("message", "", ""), ("message", "", "")],
            ),
            (
                "lines of empty data",
                b"data\ndata\n\n",
                &[("message", "\n", "")],
            ),
            (
                "data that ends with an LF",
                b"data: a\ndata\n\n",
                &[("message", "a\n", "")],
            ),
            ("no data", b"event: a\n\nid: 1\n\n\n\n", &[]),
            ("NUL in data", b"data: \0\n\n", &[("message", "\0", "")]),
        ],
    },
    Rule {
        id: "D5",
        says: "An event type applies to one event. The default is `message`.",
        shown_by: &[],
        cases: &[
            (
                "the type applies to one block",
                b"event: a\ndata\n\ndata\n\n",
                &[("a", "", ""), ("message", "", "")],
            ),
            (
                "the type of a block without data",
                b"event: a\n\ndata\n\n",
                &[("message", "", "")],
            ),
            (
                "the last type",
                b"event: a\ndata\nevent: b\n\n",
                &[("b", "", "")],
            ),
            (
                "an empty type",
                b"event: a\nevent:\ndata\n\n",
                &[("message", "", "")],
            ),
        ],
    },
    Rule {
        id: "D6",
        says: "An ID applies to later events too, until another ID replaces it. An ID that contains NUL is ignored.",
        shown_by: &[],
        cases: &[
            (
                "an id applies to later events",
                b"id: 1\ndata\n\ndata\n\n",
                &[("message", "", "1"), ("message", "", "1")],
            ),
            (
                "the id of a block without data",
                b"id: 1\n\ndata\n\n",
                &[("message", "", "1")],
            ),
            (
                "an empty id resets",
                b"id: 1\ndata\n\nid\ndata\n\n",
                &[("message", "", "1"), ("message", "", "")],
            ),
            (
                "an id with a NUL is ignored",
                b"id: 1\ndata\n\nid: 2\0\ndata\n\n",
                &[("message", "", "1"), ("message", "", "1")],
            ),
            (
                "the last id",
                b"id: 1\ndata\nid: 2\n\n",
                &[("message", "", "2")],
            ),
        ],
    },
    Rule {
        id: "D7",
        says: "At the end of the stream, an event without its empty line is dropped together with its ID. A reconnection time acts when its line ends.",
        shown_by: &[
            "only_a_complete_block_sets_the_last_event_id",
            "a_reconnection_time_is_digits_and_acts_at_once",
        ],
        cases: &[
            (
                "an event that has not ended",
                b"data: a\n\nid: 1\ndata: b\n",
                &[("message", "a", "")],
            ),
            (
                "a line that has not ended",
                b"data: a\n\ndata: b",
                &[("message", "a", "")],
            ),
            ("no bytes", b"", &[]),
        ],
    },
    Rule {
        id: "D8",
        says: "A relay can also read comments, reconnection times and IDs without data.",
        shown_by: &["a_relay_reads_comments_reconnection_times_and_ids"],
        cases: &[],
    },
    Rule {
        id: "D9",
        says: "A decoder can start with the last event ID of an earlier connection.",
        shown_by: &["a_decoder_can_start_with_a_last_event_id"],
        cases: &[],
    },
    Rule {
        id: "D10",
        says: "Lines and events have limits. The time is proportional to the number of bytes, whatever the pieces.",
        shown_by: &[
            "lines_and_events_have_limits",
            "each_byte_is_searched_once_whatever_the_pieces",
            "a_decoder_allocates_in_proportion_to_a_line",
        ],
        cases: &[],
    },
];

/// The rules of responses, and of the clients' reactions to them.
pub(crate) const RESPONSE: &[Rule<()>] = &[
    Rule {
        id: "R1",
        says: "A stream has status 200. A 204 stops a client for good. A 503 rejects a client for lack of capacity.",
        shown_by: &[
            "stop_is_an_empty_204",
            "a_refusal_is_a_response",
            "browsers_keep_to_the_rules",
        ],
        cases: (),
    },
    Rule {
        id: "R3",
        says: "The content type is `text/event-stream`, without a charset.",
        shown_by: &[
            "the_response_has_the_headers_of_an_event_stream",
            "browsers_keep_to_the_rules",
        ],
        cases: (),
    },
    Rule {
        id: "R5",
        says: "A client reconnects after any end of the body. The body breaks if its source fails, and ends cleanly otherwise.",
        shown_by: &[
            "a_response_ends_cleanly_with_its_source",
            "an_error_of_the_source_breaks_the_response",
            "browsers_keep_to_the_rules",
        ],
        cases: (),
    },
    Rule {
        id: "R7",
        says: "The first bytes are a comment line. They are sent at once.",
        shown_by: &[
            "a_stream_opens_with_a_comment_line",
            "the_response_has_the_headers_of_an_event_stream",
            "browsers_keep_to_the_rules",
        ],
        cases: (),
    },
    Rule {
        id: "R8",
        says: "CORS headers belong to the application. A page from another server reads the stream if they are set.",
        shown_by: &["browsers_keep_to_the_rules"],
        cases: (),
    },
    Rule {
        id: "R10",
        says: "A proxy may compress the stream if it flushes after each event.",
        shown_by: &[
            "proxies_pass_events_on_as_they_are_sent",
            "browsers_keep_to_the_rules",
        ],
        cases: (),
    },
    Rule {
        id: "R12",
        says: "A browser opens six streams to a server at a time over HTTP/1.1, and a hundred over HTTP/2.",
        shown_by: &["browsers_keep_to_the_rules"],
        cases: (),
    },
    Rule {
        id: "R13",
        says: "No cache stores a response. A response over HTTP/2 has no `connection` header.",
        shown_by: &[
            "the_response_has_the_headers_of_an_event_stream",
            "stop_is_an_empty_204",
        ],
        cases: (),
    },
    Rule {
        id: "R15",
        says: "A client whose next event is no longer available gets an event that notifies it.",
        shown_by: &["an_id_of_another_hub_is_reset"],
        cases: (),
    },
];

fn id(text: &'static str) -> EventId {
    EventId::new(text).unwrap()
}

fn event_type(text: &'static str) -> EventType {
    EventType::new(text).unwrap()
}

fn retry(millis: u64) -> Retry {
    Retry::new(Duration::from_millis(millis)).unwrap()
}
