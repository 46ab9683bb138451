//! axum: `Sse` is returned from a handler, `LastEventId` is an extractor.

use std::convert::Infallible;

use axum_core::{
    BoxError,
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::request::Parts;

use super::no_stream::NoStream;
use crate::{AdmitError, Encode, LastEventId, Source, Sse};

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S> IntoResponse for Sse<S>
where
    S: Source + Send + 'static,
    <S::Item as Encode>::Error: Into<BoxError> + Send,
{
    fn into_response(self) -> Response {
        self.into_response().map(Body::new)
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl IntoResponse for AdmitError {
    fn into_response(self) -> Response {
        IntoResponse::into_response(Sse::<NoStream>::from(self))
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::new(&parts.headers, &parts.uri))
    }
}
