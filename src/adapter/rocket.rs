//! rocket: `Sse` is a responder, `LastEventId` is a request guard.

use std::{convert::Infallible, error::Error, io};

use bytes::{Buf, Bytes};
use rocket::{
    Request, Response, async_trait,
    futures::TryStreamExt as _,
    http::{Header, Status},
    request::{FromRequest, Outcome},
    response::{self, Responder},
};
use tokio_util::io::StreamReader;

use super::no_stream::NoStream;
use crate::{AdmitError, Encode, LastEventId, Source, Sse};

#[cfg_attr(docsrs, doc(cfg(feature = "rocket")))]
impl<'r, 'o: 'r, S> Responder<'r, 'o> for Sse<S>
where
    S: Source + Send + 'o,
    <S::Item as Encode>::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'o,
{
    fn respond_to(self, _: &'r Request<'_>) -> response::Result<'o> {
        let (parts, body) = self.into_response().into_parts();
        let mut response = Response::new();
        response.set_status(Status::new(parts.status.as_u16()));
        for (name, value) in &parts.headers {
            // rocket has no header values but text.
            let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
                return Err(Status::InternalServerError);
            };
            response.adjoin_header(Header::new(name.as_str().to_owned(), value.to_owned()));
        }
        let body = body.map_ok(FreedOnceRead).map_err(io::Error::other);
        response.set_streamed_body(StreamReader::new(body));
        Ok(response)
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "rocket")))]
impl<'r> Responder<'r, 'static> for AdmitError {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        Sse::<NoStream>::from(self).respond_to(request)
    }
}

/// A frame that frees its bytes once they are read. `StreamReader` keeps each frame until it has the
/// next, so an error would wait 10 s for the last one.
struct FreedOnceRead(Bytes);

impl Buf for FreedOnceRead {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.0
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
        if self.0.is_empty() {
            self.0 = Bytes::new();
        }
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "rocket")))]
#[async_trait]
impl<'r> FromRequest<'r> for LastEventId {
    type Error = Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Infallible> {
        let header = |name| request.headers().get_one(name).map(str::as_bytes);
        let query = request.uri().query().map(|query| query.as_str());
        Outcome::Success(Self::look_up(header, query))
    }
}
