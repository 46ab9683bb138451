//! The example `production`.

use std::net::SocketAddr;

use super::assert_event_stream;
use crate::{deadline::until_blocking, http1::Answer, process::Process};

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
