//! The examples `llm` and `relay`, and the tokens that they send.

use super::assert_event_stream;
use crate::{http1::Answer, process::Process};

/// Returns the event of one token, which is already escaped for JSON.
fn delta(token: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{token}\"}},\"index\":0}}]}}\n\n")
}

/// The event after the last token. Without it, Vercel's AI SDK reports an error.
const FINISH: &str =
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"index\":0}]}\n\n";

#[test]
fn llm_answers_get_and_post_alike() {
    let (server, address) = Process::serve("llm");
    let get = Answer::to(address, "GET /chat?prompt=Why%3F%0A", "", "");
    let json = "content-type: application/json\r\n";
    let post = Answer::to(address, "POST /chat", json, r#"{"prompt":"Why?\n"}"#);
    assert_event_stream(&get);
    assert_event_stream(&post);

    let get = get.read_to_end();
    assert_eq!(get, post.read_to_end());
    let start = [
        ":\n",
        &delta("You "),
        &delta("asked: "),
        &delta("“Why?\\n”\\n\\nI "),
    ]
    .concat();
    assert!(get.starts_with(&start), "{get}");
    let end = [&delta("server."), FINISH, "data: [DONE]\n\n"].concat();
    assert!(get.ends_with(&end), "{get}");
    let tokens = get.matches("\"content\"").count();
    for _ in 0..2 {
        assert_eq!(
            server.line("tokens"),
            format!("finished after {tokens} tokens")
        );
    }
}

#[test]
fn llm_cancels_when_the_client_leaves() {
    let (server, address) = Process::serve("llm");
    let mut answer = Answer::to(address, "GET /chat?prompt=Why", "", "");
    answer.read_until("asked: ");
    drop(answer);
    server.line("cancelled after ");
}

#[test]
fn llm_refuses_a_request_without_a_prompt() {
    let (_server, address) = Process::serve("llm");
    let json = "content-type: application/json\r\n";
    for (request, headers, body) in [
        ("GET /chat", "", ""),
        ("POST /chat", json, "{}"),
        ("POST /chat", json, "garbage"),
        ("POST /chat", "", r#"{"prompt":""}"#),
    ] {
        let answer = Answer::to(address, request, headers, body);
        assert!(
            answer.head.starts_with("http/1.1 4"),
            "{request}: {}",
            answer.head
        );
    }
}

/// The part that the relay's upstream sends before it is silent for a while.
fn thought(prompt: &str) -> String {
    let quoted = format!("“{prompt}” ");
    ["You ", "asked: ", &quoted, "Let ", "me ", "think. "]
        .map(delta)
        .concat()
}

const RELAY_KEEP_ALIVES: &str = ": keep-alive\n: keep-alive\n";

#[test]
fn relay_sends_on_what_comes_and_keep_alives_while_nothing_does() {
    let (server, address) = Process::serve("relay");
    let get = Answer::to(address, "GET /chat?prompt=Why%3F", "", "");
    let json = "content-type: application/json\r\n";
    let post = Answer::to(address, "POST /chat", json, r#"{"prompt":"Why?"}"#);
    assert_event_stream(&get);
    assert_event_stream(&post);
    let body = format!(
        ":\n{}{RELAY_KEEP_ALIVES}{}{FINISH}data: [DONE]\n\n",
        thought("Why?"),
        delta("Because.")
    );
    assert_eq!(get.read_to_end(), body);
    assert_eq!(post.read_to_end(), body);
    assert_eq!(server.line("upstream"), "upstream ended");
    assert_eq!(server.line("upstream"), "upstream ended");
}

#[test]
fn relay_cancels_the_upstream_when_the_client_leaves() {
    let (server, address) = Process::serve("relay");
    // While the upstream sends, and while it is silent.
    for text in ["You ", "think. "] {
        let mut answer = Answer::to(address, "GET /chat?prompt=Why", "", "");
        answer.read_until(text);
        drop(answer);
        // Before the upstream's last chunk: once that is sent, it prints "upstream ended".
        assert_eq!(server.line("upstream"), "upstream cancelled");
    }
}

#[test]
fn relay_tells_that_the_upstream_has_failed() {
    let (_server, address) = Process::serve("relay");
    for (prompt, keep_alives, why) in [
        ("fail", RELAY_KEEP_ALIVES, "the upstream broke off"),
        ("short", "", "the upstream ended early"),
    ] {
        let request = format!("GET /chat?prompt={prompt}");
        let answer = Answer::to(address, &request, "", "");
        assert_event_stream(&answer);
        assert_eq!(
            answer.read_to_end(),
            format!(
                ":\n{}{keep_alives}event: failed\ndata: {{\"error\":{{\"message\":\"{why}\"}}}}\n\n",
                thought(prompt)
            )
        );
    }
}

#[test]
fn relay_opens_no_stream_when_the_upstream_refuses() {
    let (_server, address) = Process::serve("relay");
    let answer = Answer::to(address, "GET /chat?prompt=", "", "");
    assert!(answer.head.starts_with("http/1.1 502 "), "{}", answer.head);
    assert_eq!(
        answer.read_to_end(),
        "the upstream answered 400 Bad Request"
    );
}
