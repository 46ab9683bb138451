//! `OnLag::Disconnect`: the end of a response, or a reset for a client without an id.

use std::sync::mpsc;

use http_sse::{CloseReason, Event, Hub, Sse, SseBody, Subscription, hub::OnLag};

use super::{last, publish, reset, sent, wire};

/// Sets of topics of one and of several topics.
const TOPICS: [&[&str]; 2] = [&["a"], &["a", "b"]];

/// Returns a response that ends when its subscription lags, and the reason for its end.
fn respond(subscription: Subscription) -> (SseBody<Subscription>, mpsc::Receiver<CloseReason>) {
    let (sender, reasons) = mpsc::channel();
    let body = Sse::new(subscription.on_lag(OnLag::Disconnect))
        .keep_alive(None)
        .end_with(Event::data("goodbye"))
        .on_close(move |report| _ = sender.send(report.reason))
        .into_body();
    (body, reasons)
}

#[tokio::test(start_paused = true)]
async fn a_client_with_an_id_is_disconnected() {
    for topics in TOPICS {
        let hub = Hub::builder().history(2).build();
        let start = hub.head();
        // It has an id from an event, from its request, or from a reset.
        type Start = fn(Subscription) -> Subscription;
        let ids: [(&str, Start); 2] = [
            ("an event", |subscription| subscription),
            ("a reset", |subscription| {
                subscription.after(last("unknown"))
            }),
        ];
        for (case, change) in ids {
            let (mut body, reasons) = respond(change(hub.subscribe(topics)));
            sent(&mut body);
            let at = publish(&hub, "a", "x");
            assert_eq!(sent(&mut body), (wire("x", at), true), "{case}");
            (0..3).for_each(|_| _ = publish(&hub, "a", "y"));
            assert_eq!(sent(&mut body), (String::new(), false), "{case}");
            assert_eq!(reasons.try_recv(), Ok(CloseReason::Lagged), "{case}");
        }
        let (mut body, reasons) = respond(hub.subscribe(topics).after(last(hub.head())));
        assert_eq!(sent(&mut body), (":\n".to_owned(), true));
        (0..3).for_each(|_| _ = publish(&hub, "a", "y"));
        assert_eq!(sent(&mut body), (String::new(), false));
        assert_eq!(reasons.try_recv(), Ok(CloseReason::Lagged));

        // Its client returns and is reset.
        let (mut body, _) = respond(hub.subscribe(topics).after(last(start)));
        let expired = format!(":\n{}", reset("expired", hub.head()));
        assert_eq!(sent(&mut body), (expired, true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_an_id_is_reset() {
    for topics in TOPICS {
        let hub = Hub::builder().history(2).build();
        let (mut body, reasons) = respond(hub.subscribe(topics));
        assert_eq!(sent(&mut body), (":\n".to_owned(), true));
        (0..3).for_each(|_| _ = publish(&hub, "a", "x"));
        let head = hub.head();
        assert_eq!(sent(&mut body), (reset("lagged", head), true));
        let at = publish(&hub, "a", "y");
        assert_eq!(sent(&mut body), (wire("y", at), true));
        assert!(reasons.try_recv().is_err());

        // The reset has an id, so that the next lag is an end.
        (0..3).for_each(|_| _ = publish(&hub, "a", "z"));
        assert_eq!(sent(&mut body), (String::new(), false));
        assert_eq!(reasons.try_recv(), Ok(CloseReason::Lagged));
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_history_disconnects_those_who_had_not_read_it() {
    for topics in TOPICS {
        let hub = Hub::new();
        let (mut slow, of_slow) = respond(hub.subscribe(topics));
        let (mut fast, of_fast) = respond(hub.subscribe(topics));
        let first = publish(&hub, "a", "1");
        for body in [&mut slow, &mut fast] {
            assert_eq!(sent(body).0, format!(":\n{}", wire("1", first)));
        }
        let second = publish(&hub, "a", "2");
        assert_eq!(sent(&mut fast).0, wire("2", second));
        hub.remove("a");
        assert_eq!(sent(&mut slow), (String::new(), false));
        assert_eq!(of_slow.try_recv(), Ok(CloseReason::Lagged));
        assert_eq!(sent(&mut fast), (String::new(), true));
        assert!(of_fast.try_recv().is_err());
    }
}
