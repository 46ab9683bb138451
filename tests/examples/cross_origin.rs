//! The headers of the example `cross_origin`, and its page in a real browser.

use std::net::SocketAddr;

use crate::{browser::start, http1::Answer, process::Process};

/// A running example.
struct Servers {
    process: Process,
    pages: SocketAddr,
    streams: SocketAddr,
}

impl Servers {
    fn start() -> Self {
        let (process, pages) = Process::serve_with("cross_origin", &[("STREAM_PORT", "0")]);
        let line = process.line("events at");
        let streams = line.strip_prefix("events at http://").unwrap();
        let streams = streams.strip_suffix("/events").unwrap();
        let streams = streams.parse().unwrap();
        Self {
            process,
            pages,
            streams,
        }
    }

    #[track_caller]
    fn ask(&self, headers: &str) -> Answer {
        Answer::to(self.streams, "GET /events", headers, "")
    }
}

#[track_caller]
fn assert_has(answer: &Answer, header: &str) {
    let lines = answer.head.lines().filter(|line| *line == header);
    assert_eq!(lines.count(), 1, "{header} in {}", answer.head);
}

/// Asserts that no page of another origin can read the answer.
#[track_caller]
fn assert_not_shared(answer: &Answer) {
    assert!(!answer.head.contains("access-control-"), "{}", answer.head);
    assert_has(answer, "vary: origin");
}

#[test]
fn cross_origin_allows_the_origin_of_the_page_with_credentials() {
    let servers = Servers::start();
    let origin = format!("http://{}", servers.pages);
    let mut answer = servers.ask(&format!("origin: {origin}\r\ncookie: user=ada\r\n"));
    assert_has(&answer, "http/1.1 200 ok");
    assert_has(&answer, &format!("access-control-allow-origin: {origin}"));
    assert_has(&answer, "access-control-allow-credentials: true");
    assert_has(&answer, "vary: origin");
    while answer.read_on() {}
    assert_eq!(
        answer.body,
        ":\nretry: 1000\nid: 1\ndata: 1 for ada\n\nid: 2\ndata: 2 for ada\n\n\
         id: 3\ndata: 3 for ada\n\n"
    );
}

#[test]
fn cross_origin_refuses_every_other_origin() {
    let servers = Servers::start();
    let port = servers.pages.port();
    for origin in [
        format!("http://localhost:{port}"),
        format!("https://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}.example"),
        format!("http://{}", servers.streams),
        "http://127.0.0.1".into(),
        "null".into(), // the origin of a file or a sandboxed frame
        "*".into(),
        String::new(),
    ] {
        let answer = servers.ask(&format!("origin: {origin}\r\ncookie: user=ada\r\n"));
        assert_has(&answer, "http/1.1 403 forbidden");
        assert_not_shared(&answer);
        assert_eq!(answer.read_to_end(), "");
        let line = servers.process.line("refused");
        assert_eq!(line, format!("refused {origin}"));
    }
}

#[test]
fn cross_origin_sends_no_cors_headers_to_a_request_without_an_origin() {
    let servers = Servers::start();
    for (headers, opening) in [
        ("", ":\nretry: 1000\nid: 1\ndata: 1 for a stranger\n\n"),
        (
            "cookie: a=b; user=ada\r\nlast-event-id: 41\r\n",
            ":\nretry: 1000\nid: 42\ndata: 42 for ada\n\n",
        ),
    ] {
        let mut answer = servers.ask(headers);
        assert_has(&answer, "http/1.1 200 ok");
        assert_not_shared(&answer);
        answer.read_until("\n\n");
        assert_eq!(answer.body, opening);
    }
}

/// The fourth event follows a reconnection. The server does not answer preflight requests.
#[test]
fn cross_origin_page_shows_events_of_another_port_for_the_user_of_the_cookie() {
    let Some(browser) = start("cross-origin") else {
        return;
    };
    let servers = Servers::start();
    browser.open(&format!("http://{}/", servers.pages));
    browser.wait_for("document.querySelectorAll('li').length >= 4");
    let list = browser
        .run("return [...document.querySelectorAll('li')].map((li) => li.textContent).join()");
    let list = list.as_str().unwrap();
    let first = "1 for ada,2 for ada,3 for ada,4 for ada";
    assert!(list.starts_with(first), "{list}");
    browser.wait_for("document.querySelector('#state').textContent == 'open'");
    // The page cannot read the cookie, so the server has seen it.
    assert_eq!(browser.run("return document.cookie"), "");
}

#[test]
fn cross_origin_page_of_a_refused_origin_gets_an_error_and_no_event() {
    let Some(browser) = start("cross-origin-refused") else {
        return;
    };
    let servers = Servers::start();
    let closed = "document.querySelector('#state').textContent == 'closed'";
    let port = servers.pages.port();
    browser.open(&format!("http://localhost:{port}/"));
    browser.wait_for(closed);
    let line = servers.process.line("refused");
    assert_eq!(line, format!("refused http://localhost:{port}"));
    let ready_state = browser.run("return source.readyState");
    assert_eq!(ready_state, 2); // CLOSED
    let events = browser.run("return document.querySelectorAll('li').length");
    assert_eq!(events, 0);

    // A page on another port of the allowed host. The browser sends the cookie, and the server
    // rejects the origin.
    let others = Servers::start();
    browser.open(&format!("http://{}/", others.pages));
    browser.run(&format!(
        "window.seen = [];
        window.stranger = new EventSource('http://{}/events', {{ withCredentials: true }});
        for (const type of ['open', 'message', 'error']) {{
            stranger.addEventListener(type, () => seen.push([type, stranger.readyState].join(' ')));
        }}",
        servers.streams
    ));
    browser.wait_for("seen.length > 0 && stranger.readyState == EventSource.CLOSED");
    assert_eq!(browser.run("return seen.join()"), "error 2");
    let line = servers.process.line("refused");
    assert_eq!(line, format!("refused http://{}", others.pages));
}
