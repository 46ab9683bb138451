//! The response: a status, headers and the body.

use std::{fmt, time::Duration};

use futures_core::Stream;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};

use crate::{
    body::{Callback, KeepAlive, SseBody},
    connections::{AdmitError, CloseReport, Permit},
    wire::{Encode, EncodedEvent, Event, Retry},
};

/// A stream of events as an HTTP response.
///
/// The items are [`Event`]s or anything else that implements [`Encode`]. By default, the headers
/// keep proxies from buffering the response. It opens with a comment, so that the first byte leaves
/// at once. It sends a comment after 15 s of silence, and all events that are ready in one write.
///
/// A handler returns it in the frameworks that have a feature, if the source is `Send` and its error
/// converts into `Box<dyn Error + Send + Sync>`. For others,
/// [`into_response`](Self::into_response) returns an [`http::Response`].
///
/// ```
/// use http_sse::{Event, Sse};
/// use http_body_util::BodyExt as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), std::convert::Infallible> {
/// let source = futures_util::stream::iter(["a", "b"].map(Event::data));
/// let response = Sse::new(source).into_response();
///
/// assert_eq!(response.headers()["content-type"], "text/event-stream");
/// assert_eq!(response.headers()["cache-control"], "no-cache, no-transform");
/// assert_eq!(response.headers()["x-accel-buffering"], "no");
/// let body = response.into_body().collect().await?.to_bytes();
/// assert_eq!(body, ":\ndata: a\n\ndata: b\n\n");
/// # Ok(())
/// # }
/// ```
#[must_use = "a response does nothing until it is returned"]
pub struct Sse<S: Source> {
    status: StatusCode,
    headers: HeaderMap,
    body: SseBody<S>,
}

impl<S: Source> Sse<S> {
    /// Creates a response with the items of `source`.
    ///
    /// # Panics
    ///
    /// The body panics if it needs its timer outside a tokio runtime with time enabled. It needs
    /// the timer for keep-alives, which are on by default, for [`linger`](Self::linger),
    /// [`max_age`](Self::max_age) and [`Connections::drain`](crate::Connections::drain).
    pub fn new(source: S) -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter(HEADERS),
            body: SseBody::new(source),
        }
    }

    /// Creates a response that stops an `EventSource`: the status `204`, after which it does not
    /// reconnect (9.2.3 of the standard). It reconnects after every end of a `200` stream.
    ///
    /// The response has no body. Its `cache-control` is `no-store`, because a cached copy would
    /// stop other clients too.
    ///
    /// ```
    /// use futures_util::{Stream, stream};
    /// use http_sse::{Event, LastEventId, Sse};
    ///
    /// async fn three(last: LastEventId) -> Sse<impl Stream<Item = Event>> {
    ///     let next = last.parse::<u32>().map_or(1, |last| last.saturating_add(1));
    ///     if next > 3 {
    ///         return Sse::stop();
    ///     }
    ///     Sse::new(stream::iter((next..=3).map(|n| Event::data("x").id(n))))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), std::convert::Infallible> {
    /// let response = three("3".parse()?).await.into_response();
    /// assert_eq!(response.status(), 204);
    /// assert_eq!(response.headers()["cache-control"], "no-store");
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            headers: HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("no-store"))]),
            body: SseBody::default(),
        }
    }

    /// Turns the response into that of [`stop`](Self::stop) if `over` is true. The source is dropped,
    /// and headers that were set before are removed.
    ///
    /// ```
    /// use http_sse::{Event, Sse};
    ///
    /// let source = futures_util::stream::empty::<Event>();
    /// let response = Sse::new(source).stop_if(true).into_response();
    /// assert_eq!(response.status(), 204);
    /// ```
    pub fn stop_if(mut self, over: bool) -> Self {
        if over {
            let Self {
                status, headers, ..
            } = Self::stop();
            (self.status, self.headers) = (status, headers);
        }
        self
    }

    /// Sets the keep-alive that is sent when the stream is idle, or turns it off with `None`. The
    /// default is [`KeepAlive::new`].
    pub fn keep_alive(mut self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        self.body.set_keep_alive(keep_alive.into());
        self
    }

    /// Sends a reconnection time when the stream opens. By default none is sent, and browsers wait
    /// for a few seconds of their own choice.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.body.options().retry = Some(retry);
        self
    }

    /// Sends this event when the stream opens, before the items of the source. By default nothing is
    /// sent.
    ///
    /// It follows the opening comment and the reconnection time of [`retry`](Self::retry). It does not
    /// wait for the source. Every stream that opens sends it, even if the source fails at once or the
    /// server has already shut down. A response without a stream (`204`, a refusal, `HEAD`) does not
    /// send it. It is one of the events that [`on_close`](Self::on_close) reports.
    ///
    /// A client gets it again at every reconnection. An id of its own replaces the last event ID of the
    /// client, so give it none if the client resumes.
    ///
    /// ```
    /// # use http_body_util::BodyExt as _;
    /// # use http_sse::{Event, Retry, Sse};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), std::convert::Infallible> {
    /// let source = futures_util::stream::iter([Event::data("a")]);
    /// let sse = Sse::new(source)
    ///     .retry(Retry::from_millis(3_000))
    ///     .begin_with(Event::data("welcome"));
    ///
    /// let body = sse.into_body().collect().await?.to_bytes();
    /// assert_eq!(body, ":\nretry: 3000\ndata: welcome\n\ndata: a\n\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin_with(mut self, event: impl Into<EncodedEvent>) -> Self {
        self.body.options().begin_with = Some(event.into());
        self
    }

    /// Holds events back for at most this time, so that more events join them. A fast source then
    /// costs one write per `time` instead of one per event. By default nothing is held back.
    ///
    /// The opening comment is not held back. 32 KiB of events leave at once, as do all events when
    /// the stream ends.
    pub fn linger(mut self, time: Duration) -> Self {
        self.body.options().linger = Some(time);
        self
    }

    /// Ends the stream at this age, or up to a tenth earlier, so that streams that began together
    /// do not end together. By default there is no limit.
    ///
    /// The end is clean, and an `EventSource` reconnects. If the page is from another server and
    /// nobody listens at that moment, Firefox does not try again. The age counts from the first
    /// poll of the body. It also ends a source that is always ready.
    pub fn max_age(mut self, time: Duration) -> Self {
        self.body.options().max_age = Some(time);
        self
    }

    /// Sends a random reconnection time before an end that can come to many streams at once. Clients
    /// that are disconnected together then reconnect at different times.
    ///
    /// These are [`max_age`](Self::max_age), an end by [`Connections`](crate::Connections), and the
    /// end of a subscription that lagged or that lost the log of its hub. It is not sent if the
    /// source has ended or failed.
    ///
    /// The time is between 1 ms and `window`. By default none is sent. Firefox waits for at least
    /// 500 ms, so a shorter window has no effect on it.
    pub fn reconnect_within(mut self, window: Duration) -> Self {
        self.body.options().reconnect_within = Some(window);
        self
    }

    /// Sends this event when the source has ended, such as `data: [DONE]`. It is not sent if the
    /// stream ends for another reason, such as [`CloseReason::Lagged`](crate::CloseReason::Lagged).
    pub fn end_with(mut self, event: impl Into<EncodedEvent>) -> Self {
        self.body.options().end_with = Some(event.into());
        self
    }

    /// Sends this event before the response breaks off because the source failed or panicked. By
    /// default nothing is sent, and only the broken response shows the failure.
    ///
    /// Use it if clients cannot see that a response broke off: with rocket, on HTTP/1.0, or behind a
    /// proxy that ends a failed response cleanly. It is not sent if [`on_error`](Self::on_error)
    /// returns an event. It is sent if `on_error` panics.
    ///
    /// ```
    /// # use http_body_util::BodyExt as _;
    /// # use http_sse::{EncodedEvent, Event, Sse};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// const FAILED: EncodedEvent = EncodedEvent::from_static("event: failed\ndata: \n\n");
    /// let source = futures_util::stream::iter([Ok(Event::data("a")), Err("no more")]);
    ///
    /// let mut body = Sse::new(source).break_off_with(FAILED).into_body();
    /// let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    /// assert_eq!(frame, ":\ndata: a\n\nevent: failed\ndata: \n\n");
    /// drop(frame); // the connection has written it
    /// assert_eq!(body.frame().await.unwrap().unwrap_err(), "no more");
    /// # }
    /// ```
    pub fn break_off_with(mut self, event: impl Into<EncodedEvent>) -> Self {
        self.body.options().break_off_with = Some(event.into());
        self
    }

    /// Turns an error into a last event, after which the stream ends cleanly. By default the body
    /// fails, and the client sees a broken response.
    ///
    /// rocket ends a failed response cleanly. Use this or [`break_off_with`](Self::break_off_with)
    /// there.
    ///
    /// ```
    /// # use http_body_util::BodyExt as _;
    /// # use http_sse::{Event, EventType, Sse};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let source = futures_util::stream::iter([Ok(Event::data("a")), Err("no more")]);
    /// let sse = Sse::new(source).on_error(|error| {
    ///     Event::data(error).event_type(EventType::from_static("failed"))
    /// });
    ///
    /// let body = sse.into_body().collect().await.unwrap().to_bytes();
    /// assert_eq!(body, ":\ndata: a\n\nevent: failed\ndata: no more\n\n");
    /// # }
    /// ```
    pub fn on_error<F>(mut self, on_error: F) -> Self
    where
        F: FnOnce(<S::Item as Encode>::Error) -> Event + Send + 'static,
    {
        self.body.options().on_error = Some(Callback::new(on_error));
        self
    }

    /// Calls `on_close` exactly once, with the reason and the counts, after the stream has ended
    /// and its source was dropped. It is also called if the body was never polled.
    ///
    /// It usually runs in the task of the connection, so it must not block. If it panics at the end
    /// of the stream, the response breaks off after the last frame. If it panics while another
    /// panic drops the body, the process aborts.
    pub fn on_close<F>(mut self, on_close: F) -> Self
    where
        F: FnOnce(CloseReport) + Send + 'static,
    {
        self.body.options().on_close = Some(Callback::new(on_close));
        self
    }

    /// Adds the stream to the [`Connections`](crate::Connections) that admitted its client.
    pub fn permit(mut self, permit: Permit) -> Self {
        self.body.set_permit(permit);
        self
    }

    /// Sets a header and replaces existing ones of the same name. `http::response::Builder::header`
    /// appends instead; here, [`append_header`](Self::append_header) does.
    ///
    /// Do not set `connection`, which is illegal on HTTP/2. Do not set a `max-age`, because a cache
    /// would replay a finished stream to the next client.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Appends a header and keeps existing ones of the same name, such as a second `set-cookie`.
    pub fn append_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets the status, in place of `200`.
    ///
    /// If the final status is not `200`, an `EventSource` reports an error and does not reconnect
    /// (9.2.3 of the standard), so other statuses are for clients that use `fetch`. A status that
    /// allows no content (`1xx`, `204`, `205`, `304`) drops the source and leaves the body empty.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Omits the stream if `method` is `HEAD`, so that the response has headers only. The source is
    /// dropped, and [`on_close`](Self::on_close) reports an end without events.
    ///
    /// actix-web, axum, rocket, salvo, and the `get` of poem already do this. warp does not, nor
    /// does hyper on HTTP/2.
    pub fn for_method(mut self, method: &Method) -> Self {
        if method == Method::HEAD {
            self.body.skip_for_head();
        }
        self
    }

    /// Returns the status, the headers and the body.
    ///
    /// In a handler of axum, return the `Sse` itself, or convert it into axum's own response with
    /// `.into_response().into_response()`.
    #[must_use]
    pub fn into_response(mut self) -> Response<SseBody<S>> {
        let has_no_body = matches!(self.status.as_u16(), 100..=199 | 204 | 205 | 304);
        if has_no_body {
            self.body.skip();
        }
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// Returns the body alone.
    pub fn into_body(self) -> SseBody<S> {
        self.body
    }
}

/// A source of events: any [`Stream`] whose items implement [`Encode`].
///
/// It is implemented for all of these. It exists for the compiler's message if something else is
/// passed to [`Sse::new`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stream of events",
    label = "expected a `Stream` whose items are `Encode`",
    note = "wrap a receiver of tokio in `ReceiverStream`, `UnboundedReceiverStream`, `BroadcastStream` \
            or `WatchStream` of `tokio_stream::wrappers`",
    note = "the items of a `BroadcastStream` are results: map its lag errors to events too",
    note = "turn an iterator into a stream with `futures_util::stream::iter`",
    note = "turn text into events with `.map(Event::data)`, and values of serde with `.map(Json)`",
    note = "for `Result<Json<T>, E>`, implement `From<serde_json::Error>` for `E`"
)]
pub trait Source: Stream<Item: Encode> {}

#[diagnostic::do_not_recommend]
impl<S> Source for S
where
    S: Stream,
    S::Item: Encode,
{
}

impl<S: Source> fmt::Debug for Sse<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .finish()
    }
}

impl<S: Source> From<AdmitError> for Sse<S> {
    fn from(full: AdmitError) -> Self {
        let time = full.retry_after();
        let seconds = time
            .as_secs()
            .saturating_add((time.subsec_nanos() > 0).into());
        let refusal = Self::stop().header(RETRY_AFTER, seconds.into());
        refusal.status(full.status())
    }
}

/// The headers of every event stream. `no-cache` keeps caches from replaying it, `no-transform`
/// keeps proxies from compressing it in a way that buffers, and the last one is for nginx.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    ),
    (
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    ),
];
