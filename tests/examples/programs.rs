//! The examples do what their headers say.
//!
//! `cargo test` builds them; `cargo test --test examples` alone takes those that are there.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Version, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    http1::Answer,
    process::{Process, example},
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

fn read_until(answer: &mut Answer, text: &str) {
    while !answer.body.contains(text) {
        assert!(answer.read_on(), "no {text:?} in {:?}", answer.body);
    }
}

#[test]
fn quickstart_opens_at_once() {
    let (_server, address) = Process::serve("quickstart");
    // The fastest of some, since a busy machine may delay one, but not a timer all of them.
    let fastest = (0..5).map(|_| {
        let start = Instant::now();
        let mut answer = Answer::to(address, "GET /events", "", "");
        answer.read_on();
        let elapsed = start.elapsed();
        assert_event_stream(&answer);
        assert!(answer.body.starts_with(":\n"), "{:?}", answer.body);
        elapsed
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}

#[test]
fn quickstart_counts_up_with_a_status_and_keep_alives() {
    let (_server, address) = Process::serve("quickstart");
    let mut answer = Answer::to(address, "GET /events", "last-event-id: 2\r\n", "");
    read_until(&mut answer, "data: 6\n\n");
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
        read_until(&mut answer, "data: ");
        read_until(&mut answer, "\n\n");
        let opening = format!(":\nid: {first}\ndata: {first}\n\n");
        assert!(answer.body.starts_with(&opening), "{:?}", answer.body);
    }
}

#[test]
fn quickstart_counts_open_streams_only() {
    let (_server, address) = Process::serve("quickstart");
    let mut staying = Answer::to(address, "GET /events", "last-event-id: 3\r\n", "");
    read_until(&mut staying, "data: 4\n\n");
    let mut leaving = Answer::to(address, "GET /events", "last-event-id: 4\r\n", "");
    read_until(&mut leaving, "\"clients\":2}");
    drop(leaving);
    read_until(&mut staying, "\"clients\":1}");
}

#[test]
fn the_servers_with_a_page_serve_it() {
    for (name, title) in [
        ("quickstart", "quickstart"),
        ("llm", "token streaming"),
        ("relay", "token streaming"),
        ("ticker", "ticker"),
        ("notifications", "notifications"),
    ] {
        let (_server, address) = Process::serve(name);
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
fn hyper_counts_over_http1() {
    let (_server, address) = Process::serve("hyper");
    let mut answer = Answer::to(address, "GET /events", "", "");
    assert_event_stream(&answer);
    read_until(&mut answer, "data: 2\n\n");
    assert_eq!(answer.body, ":\nid: 1\ndata: 1\n\nid: 2\ndata: 2\n\n");

    let mut answer = Answer::to(address, "GET /events", "last-event-id: 41\r\n", "");
    read_until(&mut answer, "data: 42\n\n");
    assert_eq!(answer.body, ":\nid: 42\ndata: 42\n\n");

    let answer = Answer::to(address, "GET /", "", "");
    assert!(answer.head.starts_with("http/1.1 404 "), "{}", answer.head);
    assert_eq!(answer.read_to_end(), "");
}

#[tokio::test]
async fn hyper_counts_over_http2_with_prior_knowledge() {
    let (_server, address) = Process::serve("hyper");
    let tcp = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), tcp).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://{address}/events"))
        .header("last-event-id", "41")
        .body(Empty::<Bytes>::new())
        .unwrap();

    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers().get("connection"), None);
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while !body.ends_with(b"data: 43\n\n") {
        let frame = timeout(Duration::from_secs(20), incoming.frame()).await;
        body.extend(frame.unwrap().unwrap().unwrap().into_data().unwrap());
    }
    assert_eq!(body, b":\nid: 42\ndata: 42\n\nid: 43\ndata: 43\n\n");
}

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
    let token =
        |token| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{token}\"}}}}]}}\n\n");
    let start = [
        ":\n",
        &token("You "),
        &token("asked: "),
        &token("“Why?\\n”\\n\\nI "),
    ]
    .concat();
    assert!(get.starts_with(&start), "{get}");
    let end = [&token("server."), "data: [DONE]\n\n"].concat();
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
    read_until(&mut answer, "asked: ");
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

/// What the relay's upstream sends before it is silent for a while.
fn thought(prompt: &str) -> String {
    let quoted = format!("“{prompt}” ");
    ["You ", "asked: ", &quoted, "Let ", "me ", "think. "]
        .map(|token| {
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{token}\"}}}}]}}\n\n")
        })
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
        ":\n{}{RELAY_KEEP_ALIVES}\
         data: {{\"choices\":[{{\"delta\":{{\"content\":\"Because.\"}}}}]}}\n\n\
         data: [DONE]\n\n",
        thought("Why?")
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
        read_until(&mut answer, text);
        let left = Instant::now();
        drop(answer);
        assert_eq!(server.line("upstream"), "upstream cancelled");
        // Before the upstream speaks again, which is when a relay that only writes would find out.
        assert!(left.elapsed() < Duration::from_secs(2), "{left:?}");
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

/// Asserts that the metrics have these lines.
fn assert_metrics(address: SocketAddr, lines: &[&str]) {
    let metrics = Answer::to(address, "GET /metrics", "", "");
    let plain = "\r\ncontent-type: text/plain; version=0.0.4\r\n";
    assert!(metrics.head.contains(plain), "{}", metrics.head);
    let text = metrics.read_to_end();
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
        read_until(&mut staying, "id: 42\ndata: 42\n\n");
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
        read_until(&mut staying, "id: 43\ndata: 43\n\n"); // a second later
        assert_metrics(
            address,
            &[
                "sse_streams_open 1",
                "sse_streams_closed_total{reason=\"client_gone\"} 1",
            ],
        );
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
            read_until(&mut client, "data: 1\n\n");
            client
        })
        .collect();
    let start = Instant::now();
    server.terminate();
    assert!(server.end().success());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "stopped after {took:?}");

    let goodbye = "\nevent: goodbye\ndata: the server restarts\n\n";
    for client in clients {
        let body = client.read_to_end();
        let retry = body.split_once("\nretry: ").expect(&body).1;
        let retry = retry.strip_suffix(goodbye).expect(&body);
        assert!((1..=5_000).contains(&retry.parse().unwrap()), "{body}");
    }
}

/// An example that reads stdin and writes stdout.
fn filter(name: &str, arguments: &[&str]) -> Child {
    Command::new(example(name))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(mut child: Child, stdin: &[u8]) -> Output {
    let mut pipe = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || _ = pipe.write_all(stdin)); // it may end before it has read all
        child.wait_with_output().unwrap()
    })
}

fn encode(stdin: &[u8]) -> Output {
    run(filter("encode", &[]), stdin)
}

#[test]
fn encode_writes_each_line_as_an_event() {
    for (line, event) in [
        (r#"{"data":"a"}"#, "data: a\n\n"),
        (r#"{"data":""}"#, "data: \n\n"),
        (
            r#"{"data":"a\nb\rc\r\nd\n"}"#,
            "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n",
        ),
        (r#"{"data":"\r\n"}"#, "data: \ndata: \n\n"),
        (r#"{"data":" a\u0000é\ufeff"}"#, "data:  a\0é\u{feff}\n\n"),
        (r#"{"event":"tick","data":"a"}"#, "event: tick\ndata: a\n\n"),
        (r#"{"event":""}"#, "event: \n\n"),
        (r#"{"id":"7"}"#, "id: 7\n\n"),
        (r#"{"id":""}"#, "id: \n\n"),
        (r#"{"retry":1}"#, "retry: 1\n"),
        (
            r#"{"retry":2147483647,"data":"a"}"#,
            "retry: 2147483647\ndata: a\n\n",
        ),
        (r#"{"comment":"a"}"#, ": a\n"),
        (r#"{"comment":"a\nb\r\n"}"#, ": a\n: b\n: \n"),
        (r#"{"comment":""}"#, ":\n"),
        (
            r#"{"data":"d","retry":5,"id":"i","event":"e","comment":"c"}"#,
            ": c\nevent: e\nid: i\nretry: 5\ndata: d\n\n",
        ),
        (r#"{"data":null,"id":"7"}"#, "id: 7\n\n"),
        (" \t{ \"data\" : \"a\" }\t\r", "data: a\n\n"),
        ("{}", ""),
        ("", ""),
        (" \t\r", ""),
    ] {
        for line_end in ["\n", ""] {
            let output = encode(format!("{line}{line_end}").as_bytes());
            assert_eq!(String::from_utf8(output.stdout).unwrap(), event, "{line}");
            assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{line}");
            assert_eq!(output.status.code(), Some(0), "{line}");
        }
    }
}

#[test]
fn encode_refuses_what_is_no_event_and_goes_on() {
    for (line, why) in [
        (&b"garbage"[..], "not a JSON object"),
        (b"[\"a\",null,null,null,null]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b"\xef\xbb\xbf{}", "not a JSON object"),
        (b"{", "EOF while parsing an object at column 1"),
        (b"{\"data\":\"a\"} {}", "trailing characters at column 14"),
        (
            b"{\"topic\":1}",
            "unknown field `topic`, expected one of `event`, `data`, `id`, `retry`, `comment` \
             at column 8",
        ),
        (
            b"{\"data\":\"a\",\"data\":\"b\"}",
            "duplicate field `data` at column 18",
        ),
        (
            b"{\"data\":7}",
            "invalid type: integer `7`, expected a string at column 9",
        ),
        (
            b"{\"id\":7}",
            "invalid type: integer `7`, expected a string at column 7",
        ),
        (
            b"{\"data\":\"\\ud800\"}",
            "unexpected end of hex escape at column 16",
        ),
        (
            b"{\"data\":\"\xff\"}",
            "invalid utf-8 sequence of 1 bytes from index 9",
        ),
        (b"\xff", "invalid utf-8 sequence of 1 bytes from index 0"),
        (
            b"{\"event\":\"a\\nb\"}",
            "the caller's `event` has '\\n' at byte 1, which the field cannot carry",
        ),
        (
            b"{\"id\":\"a\\u0000\"}",
            "the caller's `id` has '\\0' at byte 1, which the field cannot carry",
        ),
        (
            b"{\"id\":\"\\r\"}",
            "the caller's `id` has '\\r' at byte 0, which the field cannot carry",
        ),
        (
            b"{\"retry\":0}",
            "the caller's `retry` of 0 ms is not in 1 to 2147483647 ms",
        ),
        (
            b"{\"retry\":2147483648}",
            "the caller's `retry` of 2147483648 ms is not in 1 to 2147483647 ms",
        ),
        (
            b"{\"retry\":-1}",
            "invalid value: integer `-1`, expected u64 at column 11",
        ),
        (
            b"{\"retry\":1.5}",
            "invalid type: floating point `1.5`, expected u64 at column 12",
        ),
        (
            b"{\"retry\":\"1\"}",
            "invalid type: string \"1\", expected u64 at column 12",
        ),
    ] {
        // As the third line, behind a blank one, and before another event.
        let stdin = [
            b"{\"data\":\"before\"}\n\n",
            line,
            b"\n{\"data\":\"behind\"}\n",
        ]
        .concat();
        let output = encode(&stdin);
        let line = String::from_utf8_lossy(line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr, format!("line 3: {why}\n"), "{line}");
        assert_eq!(output.stdout, b"data: before\n\ndata: behind\n\n", "{line}");
        assert_eq!(output.status.code(), Some(1), "{line}");
    }
}

#[test]
fn encode_takes_very_long_lines() {
    let data = "x".repeat(8 << 20);
    let output = encode(format!("{{\"data\":\"{data}\"}}\n{{\"id\":\"7\"}}\n").as_bytes());
    assert!(output.stdout == format!("data: {data}\n\nid: 7\n\n").as_bytes());
    assert!(output.status.success());
}

#[test]
fn encode_writes_an_event_before_the_next_line_and_ends_quietly_when_nobody_reads_on() {
    let mut child = filter("encode", &[]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut event = [0; 9];
    stdin.write_all(b"{\"data\":\"a\"}\n").unwrap();
    stdout.read_exact(&mut event).unwrap();
    assert_eq!(&event, b"data: a\n\n");

    drop(stdout);
    stdin.write_all(b"{\"data\":\"b\"}\n").unwrap();
    let output = child.wait_with_output().unwrap(); // stdin is open still
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

fn decode(arguments: &[&str], stdin: &[u8]) -> Output {
    run(filter("decode", arguments), stdin)
}

/// A stream, and the lines that are written with `--all`.
const DECODED: &[(&[u8], &[&str])] = &[
    (b"", &[]),
    (
        b"data: a\n\n",
        &[r#"{"event":"message","data":"a","lastEventId":""}"#],
    ),
    (
        b"\xef\xbb\xbfevent: tick\r\nid: 7\r\ndata: a\r\ndata:  b\r\n\r\ndata\r\r",
        &[
            r#"{"event":"tick","data":"a\n b","lastEventId":"7"}"#,
            r#"{"event":"message","data":"","lastEventId":"7"}"#,
        ],
    ),
    (
        "id: é\"\\\ndata: \0\u{1}\t\"\\/é🦀\u{2028}\u{feff}\n\n".as_bytes(),
        &[concat!(
            r#"{"event":"message","data":"\u0000\u0001\t\"\\/é🦀"#,
            "\u{2028}\u{feff}",
            r#"","lastEventId":"é\"\\"}"#
        )],
    ),
    (
        b"data: \xff\xe2\x82\n\n",
        &["{\"event\":\"message\",\"data\":\"\u{fffd}\u{fffd}\",\"lastEventId\":\"\"}"],
    ),
    (
        b": a\n:b\n:  c\n:\n",
        &[
            r#"{"comment":"a"}"#,
            r#"{"comment":"b"}"#,
            r#"{"comment":" c"}"#,
            r#"{"comment":""}"#,
        ],
    ),
    (
        b"retry: 3000\nretry: 1x\nretry: 0\nretry: 99999999999999999999\n",
        &[
            r#"{"retry":3000}"#,
            r#"{"retry":0}"#,
            r#"{"retry":18446744073709551615}"#,
        ],
    ),
    (
        b"id: 7\n\nevent: a\n\ndata: a\n\nid\n\ndata: b\n\n",
        &[
            r#"{"lastEventId":"7"}"#,
            r#"{"event":"message","data":"a","lastEventId":"7"}"#,
            r#"{"lastEventId":""}"#,
            r#"{"event":"message","data":"b","lastEventId":""}"#,
        ],
    ),
    (
        b"id: 1\ndata: a\n:c\nretry: 5\ndata: b\n\n",
        &[
            r#"{"comment":"c"}"#,
            r#"{"retry":5}"#,
            r#"{"event":"message","data":"a\nb","lastEventId":"1"}"#,
        ],
    ),
    (b"id: 7\ndata: cut\n", &[]),
    (b"data: cut", &[]),
];

#[test]
fn decode_writes_a_line_for_each_event() {
    for (stdin, lines) in DECODED {
        let all: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let events = lines.iter().filter(|line| line.starts_with("{\"event\":"));
        let events: String = events.map(|line| format!("{line}\n")).collect();
        for (arguments, stdout) in [(&[][..], events), (&["--all"], all)] {
            let output = decode(arguments, stdin);
            let stdin = String::from_utf8_lossy(stdin);
            assert_eq!(String::from_utf8(output.stdout).unwrap(), stdout);
            assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{stdin:?}");
            assert_eq!(output.status.code(), Some(0), "{stdin:?}");
        }
    }
}

#[test]
fn decode_writes_an_event_as_soon_as_it_has_ended() {
    let mut child = filter("decode", &["--all"]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    // Each piece ends where something comes of it, and the next begins in the middle: a CRLF is
    // split, and so is a line, a character and the byte order mark.
    for (pieces, line) in [
        (&[&b"\xef\xbb"[..], b"\xbf: a\r"][..], r#"{"comment":"a"}"#),
        (&[b"\nretry: 5\n"], r#"{"retry":5}"#),
        (
            &[b"id: 7\nda", b"ta: \xc3", b"\xa9\r\n\r"],
            r#"{"event":"message","data":"é","lastEventId":"7"}"#,
        ),
        (
            &[b"\n", b"\n", b"data\n\n"],
            r#"{"event":"message","data":"","lastEventId":"7"}"#,
        ),
    ] {
        for piece in pieces {
            stdin.write_all(piece).unwrap();
        }
        let mut read = String::new();
        stdout.read_line(&mut read).unwrap(); // stdin is open still
        assert_eq!(read, format!("{line}\n"));
    }

    drop(stdout);
    stdin.write_all(b"data: nobody reads this\n\n").unwrap();
    let output = child.wait_with_output().unwrap(); // stdin is open still
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn decode_refuses_a_line_beyond_the_limit_and_arguments_that_it_does_not_know() {
    let limit = 16 << 20;
    let line = vec![b':'; limit];
    let output = decode(&[], &[&line, &b"\ndata: a\n\n"[..]].concat());
    assert!(output.stdout.starts_with(b"{\"event\""), "{output:?}");
    assert_eq!(output.status.code(), Some(0));

    let output = decode(&[], &[&b"data: a\n\n:"[..], &line].concat());
    assert!(output.stdout.starts_with(b"{\"event\""), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "the stream has a line of more than 16777216 bytes\n"
    );
    assert_eq!(output.status.code(), Some(1));

    for arguments in [&["--al"][..], &["--all", "-"], &[""]] {
        let output = decode(arguments, b"data: a\n\n");
        assert_eq!(output.stdout, b"", "{arguments:?}");
        assert_eq!(output.stderr, b"usage: decode [--all] <event-stream\n");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn decode_reads_back_what_encode_writes() {
    let lines = [
        r#"{"comment":"hello\n"}"#,
        r#"{"event":"tick","id":"7","data":"a\r\nb\rc\n","retry":3000}"#,
        r#"{"data":" é\u0000\ufeff"}"#,
        r#"{"id":""}"#,
        r#"{"event":"","data":""}"#,
    ];
    let encoded = encode(lines.join("\n").as_bytes());
    let decoded = decode(&["--all"], &encoded.stdout);
    let decoded = String::from_utf8(decoded.stdout).unwrap();
    let decoded: Vec<_> = decoded.lines().collect();
    assert_eq!(
        decoded,
        [
            r#"{"comment":"hello"}"#,
            r#"{"comment":""}"#,
            r#"{"retry":3000}"#,
            r#"{"event":"tick","data":"a\nb\nc\n","lastEventId":"7"}"#,
            "{\"event\":\"message\",\"data\":\" é\\u0000\u{feff}\",\"lastEventId\":\"7\"}",
            r#"{"lastEventId":""}"#,
            r#"{"event":"message","data":"","lastEventId":""}"#,
        ]
    );
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
            assert!(answer.read_on());
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
    let list = || Answer::to(address, "GET /notifications/ada", "", "").read_to_end();
    let notify = |user: &str, text: &str| {
        let request = format!("POST /notifications/{user}");
        let answer = Answer::to(address, &request, "content-type: text/plain\r\n", text);
        assert!(answer.head.starts_with("http/1.1 204 "), "{}", answer.head);
    };
    let start = list();
    let start = start.strip_prefix("{\"position\":\"").unwrap();
    let (epoch, rest) = start.split_once('-').unwrap();
    assert_eq!(rest, "0\",\"notifications\":[]}");

    let request = format!("GET /events/ada?lastEventId={epoch}-0");
    notify("ada", "one");
    let mut answer = Answer::to(address, &request, "", "");
    assert_event_stream(&answer);
    notify("bob", "not for ada");
    notify("ada", "two");
    read_until(&mut answer, "two");
    read_until(&mut answer, "-3\n\n");
    let all = format!(":\ndata: one\nid: {epoch}-1\n\ndata: two\nid: {epoch}-3\n\n");
    assert_eq!(answer.body, all);
    drop(answer);

    notify("ada", "three");
    let header = format!("last-event-id: {epoch}-3\r\n");
    let mut answer = Answer::to(address, "GET /events/ada", &header, "");
    read_until(&mut answer, "-4\n\n");
    assert_eq!(answer.body, format!(":\ndata: three\nid: {epoch}-4\n\n"));
    let now =
        format!("{{\"position\":\"{epoch}-4\",\"notifications\":[\"one\",\"two\",\"three\"]}}");
    assert_eq!(list(), now);
    drop((answer, server));

    let port = address.port().to_string();
    let (_server, address) = Process::serve_with("notifications", &[("PORT", &port)]);
    let mut answer = Answer::to(address, "GET /events/ada", &header, "");
    read_until(&mut answer, "\n\n");
    let head = list().split('"').nth(3).unwrap().to_owned();
    assert_ne!(head, format!("{epoch}-0"));
    let reset = format!(":\nevent: reset\ndata: unknown\nid: {head}\n\n");
    assert_eq!(answer.body, reset);
}
