//! rocket: a counter that resumes after the last event ID of a client.
//!
//! ```text
//! $ cargo run -p http-sse-frameworks --example rocket
//! listening on http://127.0.0.1:3000
//!
//! $ curl -N -H 'last-event-id: 41' http://127.0.0.1:3000/feed
//! :
//! event: tick
//! id: 42
//! data: 42
//!
//! :
//! event: tick
//! id: 43
//! data: 43
//!
//! (and so on: an event every three seconds, with a keep-alive in between)
//! ```

use std::{env, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{Event, EventType, KeepAlive, LastEventId, Sse};
use rocket::{Config, config::LogLevel, fairing::AdHoc, get, launch, routes};
use tokio::time::sleep;

#[launch]
fn serve() -> _ {
    let port = env::var("PORT").map_or(3000, |port| port.parse().expect("PORT is a number"));
    let config = Config {
        port,
        log_level: LogLevel::Off,
        ..Config::default()
    };
    let listening = AdHoc::on_liftoff("listening", |rocket| {
        Box::pin(async { println!("listening on http://127.0.0.1:{}", rocket.config().port) })
    });
    rocket::custom(config)
        .attach(listening)
        .mount("/", routes![feed])
}

#[get("/feed")]
async fn feed(last: LastEventId) -> Sse<impl Stream<Item = Event>> {
    let first = last.parse::<u64>().map_or(1, |last| last.saturating_add(1));
    Sse::new(ticks(first)).keep_alive(KeepAlive::new().interval(Duration::from_secs(2)))
}

fn ticks(first: u64) -> impl Stream<Item = Event> {
    const TICK: EventType = EventType::from_static("tick");
    stream::iter(first..=u64::MAX).then(move |n| async move {
        if n > first {
            sleep(Duration::from_secs(3)).await;
        }
        Event::data(n.to_string()).event_type(TICK).id(n)
    })
}
