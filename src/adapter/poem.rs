//! poem: `Sse` is returned from a handler, `LastEventId` is an extractor.

use std::{error::Error, io};

use futures_util::TryStreamExt as _;
use http::StatusCode;
use poem::{Body, FromRequest, IntoResponse, Request, RequestBody, Response, error::ResponseError};

use super::no_stream::NoStream;
use crate::{AdmitError, Encode, LastEventId, Source, Sse};

#[cfg_attr(docsrs, doc(cfg(feature = "poem")))]
impl<S> IntoResponse for Sse<S>
where
    S: Source + Send + 'static,
    <S::Item as Encode>::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    fn into_response(self) -> Response {
        let (parts, body) = self.into_response().into_parts();
        let mut response = Response::from(parts.status);
        *response.headers_mut() = parts.headers;
        response.set_body(Body::from_bytes_stream(body.map_err(break_off)));
        response
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "poem")))]
impl IntoResponse for AdmitError {
    fn into_response(self) -> Response {
        IntoResponse::into_response(Sse::<NoStream>::from(self))
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "poem")))]
impl ResponseError for AdmitError {
    fn status(&self) -> StatusCode {
        Self::status(self)
    }

    fn as_response(&self) -> Response {
        (*self).into_response()
    }
}

/// Breaks the connection off by a panic, or returns the error if panics abort.
///
/// poem ends a response whose body has failed as if it were whole, and keeps the connection. Only a
/// panic makes it drop the connection. `resume_unwind` prints no message.
fn break_off(error: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    let error = io::Error::other(error);
    if cfg!(panic = "unwind") {
        std::panic::resume_unwind(Box::new(error));
    }
    error
}

#[cfg_attr(docsrs, doc(cfg(feature = "poem")))]
impl<'a> FromRequest<'a> for LastEventId {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self::new(request.headers(), request.uri()))
    }
}
