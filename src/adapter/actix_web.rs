//! actix-web: `Sse` is a responder, `LastEventId` is an extractor.

use std::{
    convert::Infallible,
    error::Error,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, Responder, ResponseError,
    body::{BodySize, MessageBody},
    dev::Payload,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
};
use bytes::Bytes;
use futures_core::Stream;
use http::Method;
use http_body::Body as _;

use super::no_stream::NoStream;
use crate::{AdmitError, Encode, LastEventId, Source, Sse, SseBody};

#[cfg_attr(docsrs, doc(cfg(feature = "actix-web")))]
impl<S> Responder for Sse<S>
where
    S: Source + 'static,
    <S::Item as Encode>::Error: Into<Box<dyn Error>> + 'static,
{
    type Body = SseBody<S>;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse<SseBody<S>> {
        // To the method `HEAD` actix-web writes no body on HTTP/1.1, but polls it to its end.
        let method = Method::from_bytes(request.method().as_str().as_bytes());
        into_actix(self.for_method(&method.unwrap_or_default()))
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "actix-web")))]
impl ResponseError for AdmitError {
    fn status_code(&self) -> StatusCode {
        actix_status(self.status())
    }

    fn error_response(&self) -> HttpResponse {
        into_actix(Sse::<NoStream>::from(*self)).map_into_boxed_body()
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "actix-web")))]
impl<S> MessageBody for SseBody<S>
where
    S: Stream,
    S::Item: Encode,
    <S::Item as Encode>::Error: Into<Box<dyn Error>>,
{
    type Error = <S::Item as Encode>::Error;

    fn size(&self) -> BodySize {
        // Responses to `HEAD` have no body, so actix-web must write no framing. It omits the length
        // itself if the status has no body.
        if !self.is_end_stream() {
            BodySize::Stream
        } else if self.is_head() {
            BodySize::None
        } else {
            BodySize::Sized(0)
        }
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Stream::poll_next(self, cx)
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "actix-web")))]
impl FromRequest for LastEventId {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
        ready(Ok(Self::look_up(header, request.uri().query())))
    }
}

/// Converts into the types of actix-web, which has a version of `http` of its own.
fn into_actix<S: Source>(sse: Sse<S>) -> HttpResponse<SseBody<S>> {
    let (parts, body) = sse.into_response().into_parts();
    let mut response = HttpResponse::with_body(actix_status(parts.status), body);
    for (name, value) in &parts.headers {
        let name = HeaderName::from_bytes(name.as_ref());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn actix_status(status: http::StatusCode) -> StatusCode {
    StatusCode::from_u16(status.as_u16()).unwrap_or_default()
}
