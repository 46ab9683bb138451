//! The rules by which a browser opens streams, reconnects and stops.

use std::{
    cell::Cell,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use http_sse::{Event, Retry, Sse};
use serde_json::json;
use tokio::{join, time::sleep};

use crate::{
    browser::{Browser, Kind},
    browsers::{AT_ONCE, CLOSED, OK, assert_seen, connecting, open},
    deadline::until,
    server::{A_WHILE, Answer, Server, Source, open_ended, plain, silence, sse},
};

pub(crate) async fn retry(browser: &mut Browser, server: &Server) -> &'static str {
    let (short, says) = match browser.kind {
        Kind::Chromium => (100, "ok"),
        Kind::Firefox => (500, "ok, but at least 500 ms"),
    };
    let at_least = [short, short, 700];
    // A busy machine can only prolong a time, or make the browser's first connection fail.
    for _ in 0..3 {
        let (gaps, control) = reconnection_times(browser, server).await;
        println!("{:?}: {gaps:?} ms; {control} ms by default", browser.kind);
        let short_gaps = gaps.iter().filter(|took| **took < control).count();
        if gaps.len() == 3 && short_gaps == 3 {
            for (took, at_least) in gaps.iter().zip(at_least) {
                assert!(*took >= at_least - 5, "{:?}: {gaps:?}", browser.kind);
            }
            return says;
        }
    }
    panic!(
        "{:?} did not reconnect sooner than by default",
        browser.kind
    );
}

/// Returns the times in ms after which a browser reconnects. The first three follow a reconnection
/// time, and the last is that of a control stream without one.
async fn reconnection_times(browser: &mut Browser, server: &Server) -> (Vec<u128>, u128) {
    let times = Arc::new(Mutex::new(Vec::new()));
    let note = times.clone();
    let url = server.route("/retry", move |ask| {
        note.lock().unwrap().push(Instant::now());
        let event = Event::data("x");
        let in_opening = Sse::new(stream::iter([Event::data("x")])).retry(Retry::from_millis(100));
        match ask.nth {
            0 => sse(in_opening),
            1 => sse(Sse::new(stream::iter([event]))),
            2 => {
                let last = Event::new().retry(Retry::from_millis(700));
                sse(Sse::new(stream::iter([event, last])))
            }
            3 => sse(Sse::new(stream::iter([event.retry(Retry::MAX)]))),
            _ => sse(Sse::<Source>::stop()),
        }
    });
    // Without a reconnection time, Chromium waits 3 s and Firefox 5 s.
    let control_times = Arc::new(Mutex::new(Vec::new()));
    let note = control_times.clone();
    let control = server.route("/retry/control", move |_| {
        note.lock().unwrap().push(Instant::now());
        sse(Sse::new(stream::iter([Event::data("x")])))
    });
    // The last reconnection time is 25 days, so the control reconnects first.
    let script = format!(
        "const source = new EventSource('{url}');
        const opened = (seen) => seen.filter(([type]) => type == 'open').length;
        await watch('{control}', [], (seen) => opened(seen) == 2);
        source.close()"
    );
    browser.run(&script).await;
    let gaps = |times: &[Instant]| {
        let gaps = times.windows(2).map(|two| (two[1] - two[0]).as_millis());
        gaps.collect::<Vec<_>>()
    };
    let control = gaps(&control_times.lock().unwrap())[0];
    (gaps(&times.lock().unwrap()), control)
}

/// Sends no event and no keep-alive, so that only the opening can cause `open`.
pub(crate) async fn open_at_once(browser: &mut Browser, server: &Server) -> &'static str {
    let url = server.route("/silent", |_| only_the_opening());
    let seen = browser.watch(&url, &[], "true").await;
    assert_eq!(seen, json!([open()]));
    OK
}

fn only_the_opening() -> Answer {
    sse(Sse::new(stream::pending::<Event>()).keep_alive(None))
}

/// Sends the headers without the opening. Firefox reports `open` only after the first byte.
pub(crate) async fn open_before_a_byte(browser: &mut Browser, server: &Server) -> &'static str {
    let url = server.route("/no-byte", |_| {
        let mut answer = only_the_opening();
        *answer.body_mut() = silence();
        answer
    });
    match browser.kind {
        Kind::Chromium => {
            let seen = browser.watch(&url, &[], "true").await;
            assert_eq!(seen, json!([open()]));
            "yes"
        }
        Kind::Firefox => {
            // It has still not opened some time after a later request has.
            let control = server.route("/opening", |_| only_the_opening());
            let script = format!(
                "const seen = [];
                const source = new EventSource('{url}');
                source.onopen = source.onerror = ({{ type }}) => seen.push(type);
                await watch('{control}', [], (seen) => true);
                await wait({});
                source.close();
                return seen",
                A_WHILE.as_millis()
            );
            assert_eq!(browser.run(&script).await, json!([]));
            "no"
        }
    }
}

pub(crate) async fn statuses(browser: &mut Browser, server: &Server) -> &'static str {
    const STATUSES: [u16; 12] = [201, 202, 203, 205, 206, 400, 401, 404, 429, 500, 502, 503];
    let stopped = server.route("/stopped", |_| sse(Sse::<Source>::stop()));
    let mut urls = vec![stopped];
    for status in STATUSES {
        let status = StatusCode::from_u16(status).unwrap();
        let respond = move |_| plain(status, "text/event-stream", "retry: 1\ndata: x\n\n");
        urls.push(server.route(&format!("/status/{status}"), respond));
    }
    closes_for_good(browser, &urls).await;
    assert_eq!(server.asked("/stopped").len(), 1);
    OK
}

pub(crate) async fn types_of_content(browser: &mut Browser, server: &Server) -> &'static str {
    const TYPES: [&str; 4] = [
        "text/plain",
        "application/json",
        "text/event-streams",
        "text/html",
    ];
    let answer = |content_type| plain(StatusCode::OK, content_type, "retry: 1\ndata: x\n\n");
    let mut urls = Vec::new();
    for content_type in TYPES {
        let path = format!("/content/{}", urls.len());
        urls.push(server.route(&path, move |_| answer(content_type)));
    }
    closes_for_good(browser, &urls).await;

    let utf8 = server.route("/utf-8", move |_| answer("text/event-stream;charset=UTF-8"));
    let seen = browser.watch(&utf8, &[], "seen.length == 2").await;
    assert_seen(browser, &seen, &[json!(["message", "x", ""])]);
    OK
}

pub(crate) async fn another_charset(browser: &mut Browser, server: &Server) -> &'static str {
    let url = server.route("/latin-1", |_| {
        let content_type = "text/event-stream;charset=iso-8859-1";
        plain(StatusCode::OK, content_type, "data: é\n\n")
    });
    let seen = browser
        .watch(&url, &[], "seen.length == 2 || seen[0][1] == 2")
        .await;
    match browser.kind {
        Kind::Chromium => {
            assert_eq!(seen, json!([["error", 2]]));
            "stops it permanently"
        }
        Kind::Firefox => {
            assert_eq!(seen, json!([open(), ["message", "é", ""]]));
            "read as UTF-8"
        }
    }
}

/// Asserts that no stream opens, and that the first error is final.
async fn closes_for_good(browser: &mut Browser, urls: &[String]) {
    let script = format!(
        "const watches = {urls:?}.map((url) => watch(url, [], (seen) => {CLOSED}));
        return Promise.all(watches)"
    );
    let seen = browser.run(&script).await;
    for (url, seen) in urls.iter().zip(seen.as_array().unwrap()) {
        assert_eq!(*seen, json!([["error", 2]]), "{:?}, {url}", browser.kind);
    }
}

pub(crate) async fn ends(browser: &mut Browser, server: &Server) -> &'static str {
    let url = server.route("/ends", |ask| {
        let event = Event::data(ask.nth.to_string()).id(ask.nth);
        let and_then = |end: Option<io::Error>| {
            let failure = end.map(Err);
            sse(
                Sse::new(stream::iter([Ok(event.clone())]).chain(stream::iter(failure)))
                    .retry(AT_ONCE),
            )
        };
        match ask.nth {
            0 => and_then(None),
            1 => and_then(Some(io::Error::other("the source failed"))),
            2 => sse(
                Sse::new(stream::iter([event.clone()]).chain(stream::pending()))
                    .max_age(Duration::from_millis(50))
                    .reconnect_within(Duration::from_millis(20)),
            ),
            _ => sse(Sse::<Source>::stop()),
        }
    });
    let seen = browser.watch(&url, &[], CLOSED).await;
    let event = |n: usize| json!(["message", n.to_string(), n.to_string()]);
    let read = [
        event(0),
        connecting(),
        open(),
        event(1),
        connecting(),
        open(),
        event(2),
        connecting(),
        json!(["error", 2]),
    ];
    assert_seen(browser, &seen, &read);
    assert_eq!(server.asked("/ends"), ["", "0", "1", "2"]);
    OK
}

/// Sends 1000 events, about one per ms. Meanwhile the server crashes twice, and stays away until
/// after the browser's next attempt.
pub(crate) async fn crash(browser: &mut Browser, server: &mut Server) -> &'static str {
    const EVENTS: u64 = 1000;
    /// The last event of each connection, unless a crash ends it earlier.
    const AT_MOST: [u64; 3] = [400, 800, EVENTS];
    /// The events at which the server crashes.
    const CRASHES: [u64; 2] = [100, 500];
    let sent = Arc::new(AtomicU64::new(0));
    let note = sent.clone();
    let url = server.route("/crash", move |ask| {
        let next = ask.last.parse::<u64>().unwrap_or(0) + 1;
        let note = note.clone();
        let last = AT_MOST.get(ask.nth).copied().unwrap_or(EVENTS);
        let events = stream::iter(next..=last).then(move |n| {
            note.store(n, Relaxed);
            async move {
                sleep(Duration::from_millis(1)).await;
                Event::data(n.to_string()).id(n)
            }
        });
        sse(Sse::new(events.chain(stream::pending())).retry(AT_ONCE))
    });
    let ended = Cell::new(false);
    let condition = format!("seen.at(-1)[1] == '{EVENTS}' || {CLOSED}");
    let watch = async {
        let seen = browser.watch(&url, &[], &condition).await;
        ended.set(true);
        seen
    };
    let crashes = async {
        for number in CRASHES {
            let what = format!("event {number} to be sent, or the browser to stop");
            until(what, || ended.get() || sent.load(Relaxed) >= number).await;
            if ended.get() {
                break;
            }
            server.crash().await;
            // Firefox waits at least 500 ms. The server cannot observe its failed attempt.
            sleep(Duration::from_millis(700)).await;
            server.resume();
        }
    };
    let (seen, ()) = join!(watch, crashes);
    let asked = server.asked("/crash");
    if *seen.as_array().unwrap().last().unwrap() == json!(["error", 2]) {
        assert_eq!(asked, [""], "{:?}", browser.kind);
        return "stops it permanently";
    }
    let read = seen.as_array().unwrap().iter();
    let read = read.filter(|seen| seen[0] == "message");
    let read = read.map(|seen| seen[1].as_str().unwrap().parse::<u64>().unwrap());
    assert!(read.eq(1..=EVENTS), "{:?}: {seen}", browser.kind);
    assert_eq!(asked.len(), 3, "{:?}: {asked:?}", browser.kind);
    OK
}

pub(crate) async fn six_connections(browser: &mut Browser, server: &Server) -> &'static str {
    let url = server.route("/six", |_| sse(Sse::new(stream::pending::<Event>())));
    let script = format!(
        "const opened = [];
        const sources = Array.from({{ length: 7 }}, (_, n) => {{
            const source = new EventSource('{url}?' + n);
            source.onopen = () => opened.push(n);
            return source;
        }});
        while (opened.length < 6) await wait(10);
        await wait({});
        const before = opened.length;
        sources[opened[0]].close();
        while (opened.length < 7) await wait(10);
        sources.forEach((source) => source.close());
        return [before, opened.length]",
        A_WHILE.as_millis()
    );
    assert_eq!(
        browser.run(&script).await,
        json!([6, 7]),
        "{:?}",
        browser.kind
    );
    assert_eq!(server.asked("/six").len(), 7);
    "6"
}

pub(crate) async fn a_hundred_streams(
    browser: &mut Browser,
    server: &Server,
    proxy: &str,
) -> &'static str {
    server.route("/hundred", |_| {
        sse(Sse::new(open_ended([Event::data("x")])))
    });
    let script = format!(
        "const sources = Array.from({{ length: 100 }}, (_, n) => new EventSource('{proxy}/hundred?' + n));
        const events = sources.map((source) => new Promise((resolve, reject) => {{
            source.onmessage = ({{ data }}) => resolve(data);
            source.onerror = () => reject(source.readyState);
        }}));
        const read = await Promise.all(events);
        const open = sources.filter((source) => source.readyState == EventSource.OPEN);
        sources.forEach((source) => source.close());
        return [read.join(''), open.length]"
    );
    let expected = json!(["x".repeat(100), 100]);
    assert_eq!(browser.run(&script).await, expected, "{:?}", browser.kind);
    assert_eq!(server.asked("/hundred").len(), 100);
    OK
}
