//! `accepts_event_stream` accepts the header maps of frameworks that define their own.

use http_sse::accepts_event_stream;

use crate::serving::rocket_config;

/// Values of `accept` headers. The flag is true if they accept an event stream.
const CASES: [(&[&str], bool); 5] = [
    (&[], true),
    (&["text/event-stream"], true),
    (&["text/html", "text/event-stream"], true),
    (&["text/html", "text/event-stream;q=0"], false),
    (&["text/html"], false),
];

#[test]
fn the_accept_headers_of_actix_web_are_understood() {
    use actix_web::test::TestRequest;

    for (values, accepted) in CASES {
        let mut request = TestRequest::get();
        for value in values {
            request = request.append_header(("accept", *value));
        }
        let request = request.to_http_request();
        let accepts = accepts_event_stream(request.headers().get_all("accept"));
        assert_eq!(accepts, accepted, "{values:?}");
    }
}

#[test]
fn the_accept_headers_of_rocket_are_understood() {
    use rocket::{config::Shutdown, http::Header, local::blocking::Client};

    let rocket = rocket::custom(rocket_config(Shutdown::default()));
    let client = Client::untracked(rocket).unwrap();
    for (values, accepted) in CASES {
        let mut request = client.get("/");
        for value in values {
            request
                .inner_mut()
                .add_header(Header::new("accept", *value));
        }
        let accepts = accepts_event_stream(request.inner().headers().get("accept"));
        assert_eq!(accepts, accepted, "{values:?}");
    }
}
