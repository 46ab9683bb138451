//! salvo: `Sse` is returned from a handler or rendered, `LastEventId` is extracted.

use std::{convert::Infallible, error::Error};

use salvo_core::{
    Depot, Request, Response, Scribe,
    extract::{Extractible, Metadata},
    http::ResBody,
};

use super::no_stream::NoStream;
use crate::{AdmitError, Encode, LastEventId, Source, Sse};

#[cfg_attr(docsrs, doc(cfg(feature = "salvo")))]
impl<S> Scribe for Sse<S>
where
    S: Source + Send + 'static,
    <S::Item as Encode>::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    fn render(self, response: &mut Response) {
        let (parts, body) = self.into_response().into_parts();
        response.status_code(parts.status);
        response.headers_mut().extend(parts.headers);
        response.body(ResBody::stream(body));
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "salvo")))]
impl Scribe for AdmitError {
    fn render(self, response: &mut Response) {
        Sse::<NoStream>::from(self).render(response);
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "salvo")))]
impl<'ex> Extractible<'ex> for LastEventId {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("LastEventId");
        &METADATA
    }

    #[expect(refining_impl_trait, reason = "it is never refused")]
    async fn extract(request: &'ex mut Request, _: &'ex mut Depot) -> Result<Self, Infallible> {
        Ok(Self::new(request.headers(), request.uri()))
    }
}
