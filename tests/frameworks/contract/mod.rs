//! The contract of every framework's server: one case for each behaviour of an `Sse` response.

#![allow(unreachable_pub)]

mod ends;
mod events;
mod failures;
mod framing;
mod headers;
mod server;
mod shutdown;
mod slow;
mod sources;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::Stream;
use http_sse::{AdmitError, Connections, Event, LastEventId, Sse};
use tokio::sync::oneshot;

use self::{
    server::Server,
    shutdown::{a_drain_lets_streams_end_by_themselves, a_shutdown_lets_the_server_stop},
};
use crate::serving::{Listener, runtime};

pub type Item = Result<Event, std::io::Error>;

pub type Source = Pin<Box<dyn Stream<Item = Item> + Send>>;

type Respond = Box<dyn FnOnce(LastEventId) -> Sse<Source> + Send>;

struct Answer {
    /// The connections that admit the stream, and its key.
    connections: Connections,
    key: String,
    respond: Respond,
}

/// The answers of a server, by the last segment of the path.
///
/// A case sets each answer before its request. Each answer is given once.
#[derive(Clone)]
pub struct Answers {
    by_path: Arc<Mutex<HashMap<String, Answer>>>,
    connections: Connections,
}

impl Answers {
    /// Answers a request. The handlers of all frameworks call this.
    pub fn answer(&self, path: &str, last: LastEventId) -> Result<Sse<Source>, AdmitError> {
        let Some(answer) = self.by_path.lock().unwrap().remove(path) else {
            return Ok(Sse::stop());
        };
        let permit = answer.connections.admit(answer.key)?;
        Ok((answer.respond)(last).permit(permit))
    }
}

/// A framework, with the behaviour in which it differs from the others.
pub struct Framework {
    pub name: &'static str,
    /// Serves the listener until the receiver is notified, then stops gracefully as the framework
    /// does. It is called in a separate thread.
    pub serve: fn(Listener, Answers, oneshot::Receiver<()>),
    pub http2: bool,
    /// True if the server notices that a client leaves a silent stream.
    pub notices_silence: bool,
    /// True if the server notices that a client resets a silent HTTP/2 stream.
    pub notices_silence_on_http2: bool,
    /// The longest time for a graceful stop after the shutdown of 1,500 streams.
    pub stops_within: Duration,
    /// True if the error of a body breaks the response off. If false, the cases assert that the
    /// response ends cleanly, so they fail as soon as the framework improves.
    pub breaks_off: bool,
    /// True if HTTP/1.0 responses are chunked too, which their clients cannot read (RFC 9112, 6.1).
    pub chunks_on_http_1_0: bool,
    /// True if a header that is not UTF-8 reaches the handler. Otherwise the framework drops it.
    pub raw_headers: bool,
    /// Headers that the framework adds to every response.
    pub adds: &'static [&'static str],
    /// True if the framework accepts a listener, which keeps the options of its socket.
    pub takes_listener: bool,
}

impl Framework {
    /// Returns a framework without restrictions.
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            serve: |_, _, _| {},
            http2: true,
            notices_silence: true,
            notices_silence_on_http2: true,
            stops_within: Duration::from_secs(1),
            breaks_off: true,
            chunks_on_http_1_0: false,
            raw_headers: true,
            adds: &[],
            takes_listener: true,
        }
    }
}

/// Runs every case against a framework.
pub fn run(framework: &'static Framework) {
    // This process has both ends of 1,000 connections, and the soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let server = Server::start(framework);
    let runtime = runtime(1);
    macro_rules! cases {
        ($($module:ident::$case:ident)*) => {$(
            let start = Instant::now();
            runtime.block_on($module::$case(&server));
            println!("{}: {} ({:?})", framework.name, stringify!($case), start.elapsed());
        )*};
    }
    cases! {
        headers::the_response_has_these_headers
        headers::head_has_the_headers_and_no_body
        headers::a_status_and_repeated_headers_arrive
        events::the_opening_arrives_at_once
        events::events_arrive_as_they_are_sent
        events::a_large_event_arrives_whole
        events::a_hundred_thousand_events_arrive_in_order
        events::keep_alives_are_sent_only_while_idle
        ends::a_client_that_leaves_is_noticed
        failures::an_error_breaks_the_response
        failures::an_error_can_be_an_event
        failures::the_break_off_event_is_sent_before_a_failure
        ends::finite_streams_end_cleanly
        framing::stop_is_an_empty_204
        framing::finite_responses_are_delimited
        framing::a_rejected_client_gets_429_or_503
        headers::the_last_event_id_reaches_the_handler
        slow::a_slow_reader_costs_little_and_loses_nothing
    }
    if framework.http2 {
        cases! {
            headers::http2_has_no_connection_header
            slow::http2_streams_do_not_disturb_each_other
            failures::http2_breaks_a_failed_stream
            ends::http2_clients_that_leave_are_noticed
        }
    }
    a_shutdown_lets_the_server_stop(server, &runtime);
    a_drain_lets_streams_end_by_themselves(Server::start(framework), &runtime);
}
