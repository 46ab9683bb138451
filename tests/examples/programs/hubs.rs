//! The examples with a hub: `ticker` and `notifications`.

use super::assert_event_stream;
use crate::{http1::Answer, process::Process};

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
