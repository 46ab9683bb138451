//! Chromium and Firefox, headless, and the rules of the standard that depend on the browser.

use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use http_sse::{EncodedEvent, Event, EventId, EventType, Retry, Sse};
use serde_json::{Value, json};
use tokio::join;

use crate::{
    browser::{Browser, Kind},
    connections::{
        a_hundred_streams, another_charset, crash, ends, open_at_once, open_before_a_byte, retry,
        six_connections, statuses, types_of_content,
    },
    deadline::{PATIENCE, within_time},
    proxy::nginx,
    results,
    server::{Server, Source, open_ended, sse},
    tools::{Certificate, find, turn},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_keep_to_the_rules() {
    let _turn = turn().await;
    if find(["chromium", "firefox-esr", "nginx", "openssl"]).is_none() {
        return;
    }
    let (chromium, firefox) = join!(rules(Kind::Chromium), rules(Kind::Firefox));
    let mut rows = vec![["", "Chromium", "Firefox"].map(String::from).to_vec()];
    for ((rule, chromium), (same, firefox)) in chromium.into_iter().zip(firefox) {
        assert_eq!(rule, same);
        rows.push([rule, chromium, firefox].map(String::from).to_vec());
    }
    results::check("Browsers", &rows);
}

/// Returns each rule, and the way in which a browser follows it.
async fn rules(kind: Kind) -> Vec<(&'static str, &'static str)> {
    let mut server = Server::start();
    let mut another = Server::start();
    let certificate = Certificate::make(&format!("{kind:?}-certificate"));
    let gzip = "gzip on; gzip_types text/event-stream; gzip_min_length 0;";
    let (_nginx, proxy) = nginx(server.address, gzip, Some(&certificate));
    let mut browser = Browser::start(kind, &server, &certificate, proxy);
    let mut results = Vec::new();
    macro_rules! rules {
        ($($rule:literal: $case:expr;)*) => {$(
            let start = Instant::now();
            // Longer than the deadline of a script, because some rules run several.
            let how = within_time(3 * PATIENCE, format!("{kind:?}: {}", $rule), $case).await;
            println!("{kind:?}: {how} in {:?}: {}", start.elapsed(), $rule);
            results.push(($rule, how));
        )*};
    }
    rules! {
        "`data`: line ends, spaces, empty data, any character except NUL":
            data(&mut browser, &server);
        "NUL": nuls(&mut browser, &server);
        "an event of 16 MiB": a_large_event(&mut browser, &server);
        "`event`: for one event only; `open` and `error` call `onopen` and `onerror`":
            types(&mut browser, &server);
        "fields in any order; the last `id` and `event` apply": order(&mut browser, &server);
        "`id`: kept, reset and sent back, also outside Latin-1": ids(&mut browser, &server);
        "the `id` of an event without data": id_without_data(&mut browser, &server);
        "`retry`: kept across connections; also as the last line of a stream":
            retry(&mut browser, &server);
        "`open` at once, when only the opening has arrived": open_at_once(&mut browser, &server);
        "`open` before the first byte": open_before_a_byte(&mut browser, &server);
        "204 and every other status except 200 stop it permanently":
            statuses(&mut browser, &server);
        "another content type stops it permanently": types_of_content(&mut browser, &server);
        "`charset=iso-8859-1`": another_charset(&mut browser, &server);
        "reconnects after any end": ends(&mut browser, &server);
        "reconnects after the server was down; nothing is lost": crash(&mut browser, &mut server);
        "the same, if the page is from another server": crash(&mut browser, &mut another);
        "HTTP/1.1: concurrent streams": six_connections(&mut browser, &server);
        "HTTP/2 and gzip, through nginx: 100 concurrent streams":
            a_hundred_streams(&mut browser, &server, &format!("https://{proxy}"));
    }
    results
}

pub(crate) const OK: &str = "ok";

async fn data(browser: &mut Browser, server: &Server) -> &'static str {
    let sent_and_read = [
        ("a", "a"),
        ("two\nlines", "two\nlines"),
        ("CRLF\r\nCR\rLF\n\n", "CRLF\nCR\nLF\n\n"),
        ("", ""),
        ("\n", "\n"),
        (" spaces ", " spaces "),
        ("\ttab", "\ttab"),
        ("a: colon", "a: colon"),
        (
            "\u{feff}\u{2028}\u{2029}\u{85}\u{b}\u{c}",
            "\u{feff}\u{2028}\u{2029}\u{85}\u{b}\u{c}",
        ),
        ("é ☃ 😀 \u{10ffff}", "é ☃ 😀 \u{10ffff}"),
        ("end", "end"),
    ];
    let events = sent_and_read.map(|(sent, _)| {
        // The same text in a comment, which has no effect.
        Event::data(sent.to_owned()).comment(sent.to_owned())
    });
    let url = server.route("/data", move |_| sse(Sse::new(open_ended(events.clone()))));
    let seen = browser.watch(&url, &[], "seen.at(-1)[1] == 'end'").await;
    let read = sent_and_read.map(|(_, read)| json!(["message", read, ""]));
    assert_seen(browser, &seen, &read);
    OK
}

async fn nuls(browser: &mut Browser, server: &Server) -> &'static str {
    let nuls = "\0".repeat(1000);
    let events = [
        Event::data(nuls.clone()).comment(nuls.clone()),
        Event::data("a\0b\n\0").event_type(EventType::from_static("na\0med")),
        Event::data("end"),
    ];
    let url = server.route("/nul", move |_| sse(Sse::new(open_ended(events.clone()))));
    let types = ["na\0med", "named"];
    let seen = browser.watch(&url, &types, "seen.at(-1)[1] == 'end'").await;
    let (read, result) = match browser.kind {
        Kind::Chromium => (
            [
                json!(["message", nuls, ""]),
                json!(["na\0med", "a\0b\n\0", ""]),
            ],
            "kept",
        ),
        Kind::Firefox => (
            [json!(["message", "", ""]), json!(["named", "ab\n", ""])],
            "dropped",
        ),
    };
    let end = json!(["message", "end", ""]);
    assert_seen(browser, &seen, &[&read[..], &[end]].concat());
    result
}

async fn a_large_event(browser: &mut Browser, server: &Server) -> &'static str {
    let event = EncodedEvent::from(Event::data("0123456789abcdef".repeat(1 << 20)));
    let url = server.route("/large", move |_| {
        sse(Sse::new(
            stream::iter([event.clone()]).chain(stream::pending()),
        ))
    });
    let script = format!(
        "const seen = await watch('{url}', [], (seen) => seen.length == 2);
        return [seen[1][1].length, seen[1][1] === '0123456789abcdef'.repeat(1 << 20)]"
    );
    assert_eq!(browser.run(&script).await, json!([16 << 20, true]));
    OK
}

async fn types(browser: &mut Browser, server: &Server) -> &'static str {
    let typed = |text| Event::data("x").event_type(EventType::from_static(text));
    let events = [
        typed("named"),
        Event::data("x"),
        typed("message"),
        typed(""),
        typed("nobody listens"),
        typed("näme ☃"),
        typed("open"),
        typed("error"),
        Event::data("end"),
    ];
    let url = server.route("/types", move |_| sse(Sse::new(open_ended(events.clone()))));
    let until = "seen.at(-1)[1] == 'end'";
    let seen = browser.watch(&url, &["named", "näme ☃"], until).await;
    let read = [
        "named",
        "message",
        "message",
        "message",
        "näme ☃",
        "open",
        "error",
    ];
    let mut read = read.map(|name| json!([name, "x", ""])).to_vec();
    read.push(json!(["message", "end", ""]));
    assert_seen(browser, &seen, &read);
    OK
}

async fn order(browser: &mut Browser, server: &Server) -> &'static str {
    const EVENT: EncodedEvent = EncodedEvent::from_static(
        "data: 1\nid: a\n: aside\nevent: one\ndata: 2\nretry: 1000\nevent: two\nid: b\ndata: 3\n\n",
    );
    let url = server.route("/order", |_| {
        sse(Sse::new(stream::iter([EVENT]).chain(stream::pending())))
    });
    let seen = browser
        .watch(&url, &["one", "two"], "seen.length == 2")
        .await;
    assert_seen(browser, &seen, &[json!(["two", "1\n2\n3", "b"])]);
    OK
}

/// Sends an ID on each connection. The browser sends it back with its next request.
async fn ids(browser: &mut Browser, server: &Server) -> &'static str {
    const IDS: [&str; 4] = ["AZaz09._~-", "ü☃", "", "5"];
    let url = server.route("/ids", |ask| {
        let Some(id) = IDS.get(ask.nth) else {
            return sse(Sse::<Source>::stop());
        };
        let events = [
            Event::data("with").id(EventId::from_static(id)),
            Event::data("without"),
        ];
        sse(Sse::new(stream::iter(events)).retry(AT_ONCE))
    });
    let seen = browser.watch(&url, &[], CLOSED).await;
    let mut read = Vec::new();
    for id in IDS {
        read.push(json!(["message", "with", id]));
        read.push(json!(["message", "without", id]));
        read.push(connecting());
        read.push(open());
    }
    read.pop(); // the last request is answered with 204
    read.push(json!(["error", 2]));
    assert_seen(browser, &seen, &read);
    assert_eq!(server.asked("/ids"), ["", "AZaz09._~-", "ü☃", "", "5"]);
    OK
}

async fn id_without_data(browser: &mut Browser, server: &Server) -> &'static str {
    let url = server.route("/id-only", |ask| {
        let events = match ask.nth {
            0 => vec![Event::data("x").id(1), Event::new().id(2)],
            1 => vec![
                Event::data("")
                    .event_type(EventType::from_static("nobody listens"))
                    .id(3),
            ],
            _ => return sse(Sse::<Source>::stop()),
        };
        sse(Sse::new(stream::iter(events)).retry(AT_ONCE))
    });
    browser.watch(&url, &[], CLOSED).await;
    match (&server.asked("/id-only")[1..], browser.kind) {
        ([id, next], Kind::Chromium) if id == "2" && next == "3" => "kept",
        // Both keep the ID of an empty event without a listener.
        ([id, next], Kind::Firefox) if id == "1" && next == "3" => "ignored",
        (asked, kind) => panic!("{kind:?}: {asked:?}"),
    }
}

/// The condition under which an EventSource has stopped for good.
pub(crate) const CLOSED: &str = "seen.at(-1)[0] == 'error' && seen.at(-1)[1] === 2";
pub(crate) const AT_ONCE: Retry = Retry::from_millis(10);

/// Returns the report of an EventSource that has opened.
pub(crate) fn open() -> Value {
    json!(["open", 1])
}

/// Returns the report of an EventSource that will reconnect.
pub(crate) fn connecting() -> Value {
    json!(["error", 0])
}

/// Asserts that an EventSource opened and then reported `expected`.
#[track_caller]
pub(crate) fn assert_seen(browser: &Browser, seen: &Value, expected: &[Value]) {
    let seen = seen.as_array().unwrap();
    assert_eq!(seen[0], open(), "{:?}", browser.kind);
    assert_eq!(&seen[1..], expected, "{:?}", browser.kind);
}
