//! The peer [actix-web-lab](https://docs.rs/actix-web-lab).

use std::{
    borrow::Cow,
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_web::{Responder as _, body::MessageBody as _, test::TestRequest};
use actix_web_lab::sse;
use futures_util::{Stream, StreamExt as _, stream};

use crate::{Payload, Peer, ok, to_json};

/// The `Sse` of actix-web-lab with a keep-alive, as a body of actix-web.
pub struct ActixWebLab;

impl ActixWebLab {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send + Sync + Unpin + use<> {
        stream::iter(payload.items()).map(|item| {
            let data = match item.json {
                Some(json) => to_json(sse::Data::new_json(json)),
                None => match item.data {
                    Cow::Borrowed(data) => sse::Data::new(data),
                    Cow::Owned(data) => sse::Data::new(data),
                },
            };
            ok(sse::Event::Data(match item.id {
                None => data,
                Some(id) => data.event("delta").id(id.to_string()),
            }))
        })
    }
}

impl Peer for ActixWebLab {
    const NAME: &'static str = "actix-web-lab";

    fn run(payload: Payload, mut each: impl FnMut(&[u8])) {
        let source = Self::events(payload);
        let sse = sse::Sse::from_stream(source).with_keep_alive(Duration::from_secs(15));
        let request = TestRequest::default().to_http_request();
        let mut body = pin!(sse.respond_to(&request).into_body());
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(bytes))) = body.as_mut().poll_next(&mut cx) {
            each(&bytes);
        }
    }
}
