//! warp: `Sse` is a reply, `LastEventId` has a filter.

use std::{convert::Infallible, error::Error};

use http::{HeaderMap, HeaderValue};
use sync_wrapper::SyncStream;
use warp::{
    Filter,
    reply::{self, Reply, Response},
};

use super::no_stream::NoStream;
use crate::{AdmitError, Encode, LastEventId, Source, Sse};

#[cfg_attr(docsrs, doc(cfg(feature = "warp")))]
impl<S> Reply for Sse<S>
where
    S: Source + Send + 'static,
    <S::Item as Encode>::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    fn into_response(self) -> Response {
        let (parts, body) = self.into_response().into_parts();
        let body = reply::stream(SyncStream::new(body)).into_response();
        Response::from_parts(parts, body.into_body())
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "warp")))]
impl Reply for AdmitError {
    fn into_response(self) -> Response {
        Reply::into_response(Sse::<NoStream>::from(self))
    }
}

impl LastEventId {
    /// Returns the filter of warp that extracts the ID from a request. It rejects no request.
    #[cfg_attr(docsrs, doc(cfg(feature = "warp")))]
    pub fn filter() -> impl Filter<Extract = (Self,), Error = Infallible> + Copy {
        let no_query = warp::any().map(String::new);
        let query = warp::query::raw().or(no_query).unify();
        warp::header::headers_cloned()
            .and(query)
            .map(|headers: HeaderMap, query: String| {
                let header = |name| headers.get(name).map(HeaderValue::as_bytes);
                Self::look_up(header, Some(&query))
            })
    }
}
