//! The example `app` as a program. Its own file contains unit tests.

use std::time::{Duration, Instant};

use crate::{http1::Answer, process::Process};

#[test]
fn app_sends_an_order_and_a_goodbye_and_exits_on_sigterm() {
    let (mut server, address) = Process::serve("app");
    let mut stream = Answer::to(address, "GET /orders", "", "");
    assert!(stream.read_on());
    assert_eq!(stream.body, ":\n");

    let json = "content-type: application/json\r\n";
    let order = r#"{"number":7,"item":"tea"}"#;
    let posted = Answer::to(address, "POST /orders", json, order);
    assert!(posted.head.starts_with("http/1.1 204 "), "{}", posted.head);
    stream.read_until("\n\n");
    let (event, id) = stream.body.rsplit_once("\nid: ").unwrap();
    assert_eq!(event, format!(":\ndata: {order}"));
    assert!(id.ends_with("-1\n\n"), "{id}");

    let (event, id) = (event.to_owned(), id.to_owned());
    let start = Instant::now();
    server.terminate();
    let goodbye = "event: goodbye\ndata: the server restarts\n\n";
    assert_eq!(stream.read_to_end(), format!("{event}\nid: {id}{goodbye}"));
    drop(posted);
    assert!(server.end().success());
    assert!(start.elapsed() < Duration::from_secs(5));
}
