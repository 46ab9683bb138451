//! The contract: what every framework's server does with an `Sse`, case by case.

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
    /// Where it is admitted, and by which key.
    connections: Connections,
    key: String,
    respond: Respond,
}

/// What a server answers, by the last segment of the path: each answer is set by a case before
/// it asks, and given once.
#[derive(Clone)]
pub struct Answers {
    by_path: Arc<Mutex<HashMap<String, Answer>>>,
    connections: Connections,
}

impl Answers {
    /// The body of the handler, the same in every framework.
    pub fn answer(&self, path: &str, last: LastEventId) -> Result<Sse<Source>, AdmitError> {
        let Some(answer) = self.by_path.lock().unwrap().remove(path) else {
            return Ok(Sse::stop());
        };
        let permit = answer.connections.admit(answer.key)?;
        Ok((answer.respond)(last).permit(permit))
    }
}

/// What differs between frameworks.
pub struct Framework {
    pub name: &'static str,
    /// Serves the listener until it is told to stop, and then stops as the framework does when it
    /// is asked to do so gracefully. Called in a thread of its own.
    pub serve: fn(Listener, Answers, oneshot::Receiver<()>),
    pub http2: bool,
    /// Whether a client that leaves is noticed while nothing is sent to it.
    pub notices_silence: bool,
    /// The same of an HTTP/2 stream that is reset.
    pub notices_silence_on_http2: bool,
    /// How long it takes at most to stop gracefully, with 1,500 streams that are shut down.
    pub stops_within: Duration,
    /// Whether a body that fails breaks the response off. Where it does not, the case asserts that
    /// it ends, so that it is noticed when the framework has learned it.
    pub breaks_off: bool,
    /// Whether a stream has chunks on HTTP/1.0 too, where clients do not know them (RFC 9112, 6.1).
    pub chunks_on_http_1_0: bool,
    /// Whether a header that is no UTF-8 reaches a handler, or else is dropped.
    pub raw_headers: bool,
    /// Headers that the framework adds to every response.
    pub adds: &'static [&'static str],
    /// Whether it serves a listener that it is given, with the sockets' options.
    pub takes_listener: bool,
}

impl Framework {
    /// One that does all that can be done.
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
    // Both ends of 1,000 connections are here, and the soft limit is often 1,024.
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
        events::keep_alives_come_when_idle_and_only_then
        ends::a_client_that_leaves_is_noticed
        failures::an_error_is_a_broken_response
        failures::an_error_can_be_an_event
        failures::an_event_of_choice_precedes_a_failure
        ends::ends_are_clean
        framing::stop_is_an_empty_204
        framing::finite_responses_say_where_they_end
        framing::a_client_that_is_not_admitted_gets_429_or_503
        headers::the_last_event_id_is_what_was_sent
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
