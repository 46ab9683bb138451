//! The examples of the frameworks behave as their headers say.
//!
//! `cargo test` builds the examples. `cargo test -p http-sse-frameworks --test frameworks` uses the
//! programs that are already built.

use crate::{http1::Answer, process::Process};

/// Defines a test for each example. All examples serve the same stream.
macro_rules! examples {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            resumes_after_the_last_event_id(stringify!($name));
        }
    )*};
}

examples! { actix_web poem rocket salvo warp }

fn resumes_after_the_last_event_id(example: &str) {
    let (_server, address) = Process::serve(example);

    let mut answer = Answer::to(address, "GET /feed", "last-event-id: 41\r\n", "");
    let head = &answer.head;
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    for header in [
        "\r\ncontent-type: text/event-stream\r\n",
        "\r\ncache-control: no-cache, no-transform\r\n",
        "\r\nx-accel-buffering: no\r\n",
    ] {
        assert!(head.contains(header), "{head}");
    }
    read(
        &mut answer,
        ":\n\
         event: tick\nid: 42\ndata: 42\n\n\
         :\n\
         event: tick\nid: 43\ndata: 43\n\n",
    );

    let mut answer = Answer::to(address, "GET /feed", "", "");
    read(&mut answer, ":\nevent: tick\nid: 1\ndata: 1\n\n");
}

/// Reads as many bytes as `expected` has, and asserts that they are equal.
fn read(answer: &mut Answer, expected: &str) {
    while answer.body.len() < expected.len() {
        assert!(answer.read_on(), "ended after {:?}", answer.body);
    }
    assert_eq!(answer.body, expected);
}
