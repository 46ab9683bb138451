//! The examples that serve do what their headers say.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Version, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::{
    deadline::{Background, until_blocking, within},
    http1::Answer,
    process::Process,
};

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

/// The opening and the first number arrive together, ahead of all that a timer of the server
/// brings: the next number after a second, a keep-alive after two.
#[test]
fn quickstart_opens_at_once() {
    let (_server, address) = Process::serve("quickstart");
    let mut answer = Answer::to(address, "GET /events", "", "");
    assert_event_stream(&answer);
    assert!(answer.read_on());
    assert_eq!(answer.body, ":\nid: 1\ndata: 1\n\n");
}

#[test]
fn quickstart_counts_up_with_a_status_and_keep_alives() {
    let (_server, address) = Process::serve("quickstart");
    let mut answer = Answer::to(address, "GET /events", "last-event-id: 2\r\n", "");
    answer.read_until("data: 6\n\n");
    let uptime = answer.body.split("\"uptime\":").nth(1).unwrap();
    let uptime = uptime.split(',').next().unwrap();
    assert_eq!(
        answer.body,
        format!(
            ":\nid: 3\ndata: 3\n\nid: 4\ndata: 4\n\nid: 5\ndata: 5\n\n\
             event: status\ndata: {{\"uptime\":{uptime},\"clients\":1}}\n\n\
             : keep-alive\n: keep-alive\nid: 6\ndata: 6\n\n"
        )
    );
}

#[test]
fn quickstart_resumes_behind_the_last_event_id() {
    let (_server, address) = Process::serve("quickstart");
    for (last, first) in [
        ("41", 42),
        ("garbage", 1),
        ("-1", 1),
        ("18446744073709551615", u64::MAX),
    ] {
        let headers = format!("last-event-id: {last}\r\n");
        let mut answer = Answer::to(address, "GET /events", &headers, "");
        answer.read_until("data: ");
        answer.read_until("\n\n");
        let opening = format!(":\nid: {first}\ndata: {first}\n\n");
        assert!(answer.body.starts_with(&opening), "{:?}", answer.body);
    }
}

#[test]
fn quickstart_counts_open_streams_only() {
    let (_server, address) = Process::serve("quickstart");
    let mut staying = Answer::to(address, "GET /events", "last-event-id: 3\r\n", "");
    staying.read_until("data: 4\n\n");
    let mut leaving = Answer::to(address, "GET /events", "last-event-id: 4\r\n", "");
    leaving.read_until("\"clients\":2}");
    drop(leaving);
    staying.read_until("\"clients\":1}");
}

#[test]
fn the_servers_with_a_page_serve_it() {
    for (name, title) in [
        ("quickstart", "quickstart"),
        ("llm", "token streaming"),
        ("relay", "token streaming"),
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

#[test]
fn axum_counts_with_keep_alives() {
    let (_server, address) = Process::serve("axum");
    let mut answer = Answer::to(address, "GET /feed", "last-event-id: 41\r\n", "");
    assert_event_stream(&answer);
    answer.read_until("data: 43\n\n");
    assert_eq!(
        answer.body,
        ":\nevent: tick\nid: 42\ndata: 42\n\n:\nevent: tick\nid: 43\ndata: 43\n\n"
    );

    let mut answer = Answer::to(address, "GET /feed", "", "");
    answer.read_until("data: ");
    answer.read_until("\n\n");
    assert_eq!(answer.body, ":\nevent: tick\nid: 1\ndata: 1\n\n");
}

#[test]
fn hyper_counts_over_http1() {
    let (_server, address) = Process::serve("hyper");
    let mut answer = Answer::to(address, "GET /events", "", "");
    assert_event_stream(&answer);
    answer.read_until("data: 2\n\n");
    assert_eq!(answer.body, ":\nid: 1\ndata: 1\n\nid: 2\ndata: 2\n\n");

    let mut answer = Answer::to(address, "GET /events", "last-event-id: 41\r\n", "");
    answer.read_until("data: 42\n\n");
    assert_eq!(answer.body, ":\nid: 42\ndata: 42\n\n");

    let answer = Answer::to(address, "GET /", "", "");
    assert!(answer.head.starts_with("http/1.1 404 "), "{}", answer.head);
    assert_eq!(answer.read_to_end(), "");
}

#[tokio::test]
async fn hyper_counts_over_http2_with_prior_knowledge() {
    let (_server, address) = Process::serve("hyper");
    let tcp = within("a connection", TcpStream::connect(address)).await;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp.unwrap()));
    let (mut client, connection) = within("the handshake", handshake).await.unwrap();
    let _connection = Background::spawn(async move {
        within("the connection to end", connection).await.unwrap();
    });
    let request = Request::get(format!("http://{address}/events"))
        .header("last-event-id", "41")
        .body(Empty::<Bytes>::new())
        .unwrap();

    let response = within("a response", client.send_request(request)).await;
    let response = response.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers().get("connection"), None);
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while !body.ends_with(b"data: 43\n\n") {
        let frame = within("the next frame", incoming.frame()).await;
        body.extend(frame.unwrap().unwrap().into_data().unwrap());
        assert!(body.len() < 1000, "no end of {:?}", body.escape_ascii());
    }
    assert_eq!(body, b":\nid: 42\ndata: 42\n\nid: 43\ndata: 43\n\n");
}

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

fn metrics(address: SocketAddr) -> String {
    let metrics = Answer::to(address, "GET /metrics", "", "");
    let plain = "\r\ncontent-type: text/plain; version=0.0.4\r\n";
    assert!(metrics.head.contains(plain), "{}", metrics.head);
    metrics.read_to_end()
}

/// Asserts that the metrics have these lines.
fn assert_metrics(address: SocketAddr, lines: &[&str]) {
    let text = metrics(address);
    for line in lines {
        assert!(text.lines().any(|other| other == *line), "{line}: {text}");
    }
}

#[test]
fn production_refuses_who_is_too_many_and_tells_in_its_metrics() {
    for (limit, status, by, counted) in [
        ("MAX_STREAMS", "503", "server", ["1", "0"]),
        ("MAX_STREAMS_PER_ADDRESS", "429", "address", ["0", "1"]),
    ] {
        let (_server, address) = Process::serve_with("production", &[(limit, "2")]);
        let mut staying = Answer::to(address, "GET /events", "last-event-id: 41\r\n", "");
        assert_event_stream(&staying);
        staying.read_until("id: 42\ndata: 42\n\n");
        let leaving = Answer::to(address, "GET /events", "", "");
        assert_event_stream(&leaving);

        let refused = Answer::to(address, "GET /events", "", "");
        let head = &refused.head;
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{by}: {head}"
        );
        assert!(head.contains("\r\nretry-after: 5\r\n"), "{by}: {head}");
        assert_metrics(
            address,
            &[
                "sse_streams_open 2",
                "sse_streams_stalled 0",
                "sse_streams_opened_total 2",
                &format!("sse_streams_refused_total{{by=\"server\"}} {}", counted[0]),
                &format!("sse_streams_refused_total{{by=\"key\"}} {}", counted[1]),
                "sse_streams_closed_total{reason=\"client_gone\"} 0",
            ],
        );

        drop(leaving);
        until_blocking("the client that leaves to be counted", || {
            metrics(address).contains("\nsse_streams_closed_total{reason=\"client_gone\"} 1\n")
        });
        assert_metrics(address, &["sse_streams_open 1"]);
        staying.read_until("id: 43\ndata: 43\n\n");
        let admitted = Answer::to(address, "GET /events", "", "");
        assert_event_stream(&admitted);
    }
}

#[cfg(unix)]
#[test]
fn production_says_goodbye_and_stops_when_it_is_told_to() {
    let (mut server, address) = Process::serve("production");
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = Answer::to(address, "GET /events", "", "");
            client.read_until("data: 1\n\n");
            client
        })
        .collect();
    server.terminate();
    assert!(server.end().success());
    // It stops because all streams have ended: when its grace is over, it prints whom it cuts off.
    server.no_more_lines();

    let goodbye = "\nevent: goodbye\ndata: the server restarts\n\n";
    for client in clients {
        let body = client.read_to_end();
        let retry = body.split_once("\nretry: ").expect(&body).1;
        let retry = retry.strip_suffix(goodbye).expect(&body);
        assert!((1..=5_000).contains(&retry.parse().unwrap()), "{body}");
    }
}

/// The updates in a body, as symbol and number, and the last id.
fn updates(body: &str) -> (Vec<(String, u64)>, String) {
    let mut last = String::new();
    let mut updates = Vec::new();
    for event in body.split("\n\n").filter(|event| event.contains("\nid: ")) {
        let (data, id) = event.split_once("\nid: ").unwrap();
        last = id.to_owned();
        let (_, data) = data.rsplit_once("data: ").unwrap();
        let price: serde_json::Value = serde_json::from_str(data).unwrap();
        let symbol = price["symbol"].as_str().unwrap().to_owned();
        updates.push((symbol, price["number"].as_u64().unwrap()));
    }
    (updates, last)
}

#[test]
fn ticker_loses_and_doubles_nothing_when_it_is_killed() {
    let (_server, address) = Process::serve("ticker");
    let mut numbers = std::collections::HashMap::new();
    let mut last = String::new();
    for _ in 0..5 {
        let headers = format!("last-event-id: {last}\r\n");
        let mut answer = Answer::to(address, "GET /events", &headers, "");
        assert_event_stream(&answer);
        while answer.body.matches("\nid: ").count() < 200 {
            assert!(answer.read_on(), "ended after {:?}", answer.body);
        }
        assert!(
            answer.body.starts_with(":\nretry: 200\n"),
            "{:?}",
            answer.body
        );
        let killed = Answer::to(address, "POST /kill", "", "");
        assert_eq!(killed.read_to_end(), "closed 1\n");
        let body = answer.read_to_end();
        let updates = updates(&body);
        last = updates.1;
        for (symbol, number) in updates.0 {
            if let Some(before) = numbers.insert(symbol, number) {
                assert_eq!(number, before + 1);
            }
        }
    }
    assert_eq!(numbers.len(), 50);
}

#[test]
fn notifications_reach_their_user_and_nobody_else() {
    let (server, address) = Process::serve("notifications");
    let list = |server| Answer::to(server, "GET /notifications/ada", "", "").read_to_end();
    let notify = |user: &str, text: &str| {
        let request = format!("POST /notifications/{user}");
        let answer = Answer::to(address, &request, "content-type: text/plain\r\n", text);
        assert!(answer.head.starts_with("http/1.1 204 "), "{}", answer.head);
    };
    let start = list(address);
    let start = start.strip_prefix("{\"position\":\"").unwrap();
    let (epoch, rest) = start.split_once('-').unwrap();
    assert_eq!(rest, "0\",\"notifications\":[]}");

    let request = format!("GET /events/ada?lastEventId={epoch}-0");
    notify("ada", "one");
    let mut answer = Answer::to(address, &request, "", "");
    assert_event_stream(&answer);
    notify("bob", "not for ada");
    notify("ada", "two");
    answer.read_until("two");
    answer.read_until("-3\n\n");
    let all = format!(":\ndata: one\nid: {epoch}-1\n\ndata: two\nid: {epoch}-3\n\n");
    assert_eq!(answer.body, all);
    drop(answer);

    notify("ada", "three");
    let header = format!("last-event-id: {epoch}-3\r\n");
    let mut answer = Answer::to(address, "GET /events/ada", &header, "");
    answer.read_until("-4\n\n");
    assert_eq!(answer.body, format!(":\ndata: three\nid: {epoch}-4\n\n"));
    let now =
        format!("{{\"position\":\"{epoch}-4\",\"notifications\":[\"one\",\"two\",\"three\"]}}");
    assert_eq!(list(address), now);
    drop((answer, server));

    let (_server, address) = Process::serve("notifications");
    let mut answer = Answer::to(address, "GET /events/ada", &header, "");
    answer.read_until("\n\n");
    let head = list(address).split('"').nth(3).unwrap().to_owned();
    assert_ne!(head, format!("{epoch}-0"));
    let reset = format!(":\nevent: reset\ndata: unknown\nid: {head}\n\n");
    assert_eq!(answer.body, reset);
}
