//! The examples that serve do what their headers say.

mod counters;
mod hubs;
mod llm;
mod production;

use crate::{http1::Answer, process::Process};

const EVENT_STREAM_HEADERS: [&str; 3] = [
    "\r\ncontent-type: text/event-stream\r\n",
    "\r\ncache-control: no-cache, no-transform\r\n",
    "\r\nx-accel-buffering: no\r\n",
];

fn assert_event_stream(answer: &Answer) {
    let head = &answer.head;
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    for header in EVENT_STREAM_HEADERS {
        assert!(head.contains(header), "{head}");
    }
    assert!(!head.contains("\r\nconnection:"), "{head}");
}

#[test]
fn the_servers_with_a_page_serve_it() {
    for (name, title) in [
        ("quickstart", "quickstart"),
        ("llm", "token streaming"),
        ("relay", "relay"),
        ("ticker", "ticker"),
        ("notifications", "notifications"),
        ("cross_origin", "cross origin"),
    ] {
        let (_server, address) = Process::serve_with(name, &[("STREAM_PORT", "0")]);
        let answer = Answer::to(address, "GET /", "", "");
        assert!(
            answer.head.starts_with("http/1.1 200 ok\r\n"),
            "{}",
            answer.head
        );
        assert!(
            answer.head.contains("content-type: text/html"),
            "{}",
            answer.head
        );
        let page = answer.read_to_end();
        assert!(
            page.contains(&format!("<title>http-sse · {title}</title>")),
            "{page}"
        );
    }
}
