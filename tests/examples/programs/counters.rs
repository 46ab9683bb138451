//! The examples that count: `quickstart`, `axum` and `hyper`.

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Version, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::assert_event_stream;
use crate::{
    deadline::{Background, within},
    http1::Answer,
    process::Process,
};

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
