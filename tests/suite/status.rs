//! Statuses of a response. A status without content ends the stream before it starts.

use std::sync::mpsc;

use futures_util::stream;
use http::StatusCode;
use http_body::Body as _;
use http_sse::{CloseReason, Event, Sse};

#[test]
fn a_status_without_content_drops_the_source() {
    for status in [100, 103, 199, 204, 205, 304] {
        let (sender, reasons) = mpsc::channel();
        let dropped = sender.clone();
        let source = stream::once(async move {
            let _dropped = dropped;
            Event::data("a")
        });
        let sse = Sse::new(source).on_close(move |report| _ = sender.send(report.reason));
        let response = sse
            .status(StatusCode::from_u16(status).unwrap())
            .into_response();
        assert!(response.body().is_end_stream(), "{status}");
        assert_eq!(response.body().size_hint().exact(), Some(0), "{status}");
        drop(response);
        assert_eq!(reasons.iter().collect::<Vec<_>>(), [CloseReason::End]);
    }
}

#[test]
fn every_other_status_keeps_the_stream() {
    for status in [200, 201, 203, 206, 299, 303, 305, 400, 429, 503] {
        let sse = Sse::new(stream::iter([Event::data("a")]));
        let response = sse
            .status(StatusCode::from_u16(status).unwrap())
            .into_response();
        assert_eq!(response.status(), status);
        assert!(!response.body().is_end_stream(), "{status}");
    }
}
