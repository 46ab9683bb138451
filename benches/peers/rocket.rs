//! The peer [Rocket](https://docs.rs/rocket).

use std::sync::{Mutex, OnceLock};

use futures_util::{Stream, StreamExt as _, stream};
use rocket::{
    Config, State,
    config::LogLevel,
    get,
    local::asynchronous::Client,
    response::stream::{Event, EventStream},
    routes,
};
use tokio::io::AsyncReadExt as _;

use crate::{Payload, Peer};

/// Rocket's `EventStream`, read through its test client, which has no socket.
pub struct Rocket;

impl Rocket {
    pub fn events(payload: Payload) -> impl Stream<Item = Event> + Send + Sync + Unpin + use<> {
        stream::iter(payload.items()).map(|item| {
            let event = match item.json {
                Some(json) => Event::json(&json),
                None => Event::data(item.data),
            };
            match item.id {
                None => event,
                Some(id) => event.event("delta").id(id.to_string()),
            }
        })
    }
}

impl Peer for Rocket {
    const NAME: &'static str = "rocket";

    fn run(payload: Payload, mut each: impl FnMut(&[u8])) {
        static CLIENT: OnceLock<(tokio::runtime::Runtime, Client)> = OnceLock::new();
        let (runtime, client) = CLIENT.get_or_init(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            let config = Config {
                log_level: LogLevel::Off,
                ..Config::default()
            };
            let rocket = rocket::custom(config).manage(Wanted::default());
            let rocket = rocket.mount("/", routes![events]);
            let client = runtime.block_on(Client::untracked(rocket)).unwrap();
            (runtime, client)
        });
        let wanted: &Wanted = client.rocket().state().unwrap();
        *wanted.lock().unwrap() = Some(payload);
        runtime.block_on(async {
            let mut response = client.get("/").dispatch().await;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match response.read(&mut buffer).await.unwrap() {
                    0 => return,
                    read => each(&buffer[..read]),
                }
            }
        });
    }
}

/// The payload of the next response.
type Wanted = Mutex<Option<Payload>>;

#[get("/")]
fn events(wanted: &State<Wanted>) -> EventStream<impl Stream<Item = Event>> {
    let payload = wanted.lock().unwrap().expect("`run` set it");
    EventStream::from(Rocket::events(payload))
}
