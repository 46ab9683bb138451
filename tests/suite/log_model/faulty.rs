//! A log that fails, hangs, loses answers and loses entries.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use http_sse::hub::{AppendError, Entry, EventLog, EventLogError, Page, Position, Record, Tail};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::{
    sync::RwLock,
    time::{Instant, sleep, sleep_until},
};

use crate::deadline::within;

/// A log that can be made to lose entries.
pub(crate) trait Lossy: EventLog {
    /// Drops the oldest entries.
    fn trim(&self, kept: usize) -> BoxFuture<'_, ()>;

    /// Loses the newest entries. Returns the position of the last one that is left.
    fn lose(&self, entries: usize) -> BoxFuture<'_, Position>;
}

/// The state of the engine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weather {
    Good,
    /// One call in ten fails.
    Failing,
    /// No call is answered before this time.
    HangingUntil(Instant),
}

/// A log with an unreliable engine.
#[derive(Clone)]
pub(super) struct Faulty {
    log: Arc<dyn Lossy>,
    /// Nothing is appended while entries are lost, so that every later event knows of the loss.
    loses: Arc<RwLock<()>>,
    chance: Arc<Mutex<TestRng>>,
    weather: Arc<Mutex<Weather>>,
    faults: Arc<AtomicU64>,
    losses: Arc<AtomicU64>,
    /// The data of every event that was appended and not lost at the end of the log.
    written: Arc<Mutex<BTreeMap<Position, String>>>,
    /// The data of every event that was lost at the end of the log.
    lost: Arc<Mutex<BTreeSet<String>>>,
}

impl Faulty {
    pub(super) fn new(log: Arc<dyn Lossy>, chance: TestRng) -> Self {
        Self {
            log,
            loses: Arc::default(),
            chance: Arc::new(Mutex::new(chance)),
            weather: Arc::new(Mutex::new(Weather::Good)),
            faults: Arc::default(),
            losses: Arc::default(),
            written: Arc::default(),
            lost: Arc::default(),
        }
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    /// Drops the oldest entries.
    pub(super) async fn trim(&self, kept: usize) {
        self.losses.fetch_add(1, SeqCst);
        within("the log to be trimmed", self.log.trim(kept)).await;
    }

    /// Loses the newest entries, so that the head goes back.
    pub(super) async fn lose(&self, entries: usize) {
        self.losses.fetch_add(1, SeqCst);
        let _alone = within("appends to end", self.loses.write()).await;
        let head = within("the log to lose entries", self.log.lose(entries)).await;
        let mut written = self.written.lock().unwrap();
        while let Some((_, data)) = written
            .last_entry()
            .filter(|last| *last.key() > head)
            .map(|last| last.remove_entry())
        {
            self.lost.lock().unwrap().insert(data);
        }
    }

    /// Returns whether an event with this data was appended, and lost at the end of the log.
    pub(super) fn has_lost(&self, data: &str) -> bool {
        self.lost.lock().unwrap().contains(data)
    }

    /// Returns how often entries were trimmed or lost.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(SeqCst)
    }

    /// Returns the number of calls that failed.
    pub(super) fn faults(&self) -> u64 {
        self.faults.load(SeqCst)
    }

    /// Waits while the engine hangs. Fails once in ten calls while it fails.
    async fn answers(&self) -> Result<(), EventLogError> {
        let weather = *self.weather.lock().unwrap();
        let fails = match weather {
            Weather::Good => false,
            Weather::Failing => self.chance.lock().unwrap().random_range(0..10) == 0,
            Weather::HangingUntil(end) => {
                sleep_until(end).await;
                false
            }
        };
        if fails {
            self.faults.fetch_add(1, SeqCst);
            return Err("the engine is unavailable".into());
        }
        Ok(())
    }

    async fn delay(&self) {
        let millis = self.chance.lock().unwrap().random_range(0..20);
        sleep(Duration::from_millis(millis)).await;
    }
}

impl EventLog for Faulty {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async move {
            self.answers().await.map_err(AppendError::NotWritten)?;
            let data = key.map(str::to_owned);
            let shared = within("a loss to end", self.loses.read()).await;
            let at = within("the log", self.log.append(topic, record, key)).await;
            if let (Ok(at), Some(data)) = (&at, data) {
                self.written.lock().unwrap().insert(*at, data);
            }
            drop(shared);
            self.answers().await.map_err(AppendError::Unknown)?;
            at
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, EventLogError>> {
        Box::pin(async move {
            self.answers().await?;
            within("the log", self.log.head()).await
        })
    }

    fn first(&self) -> BoxFuture<'_, Result<Option<Entry>, EventLogError>> {
        Box::pin(async move {
            self.answers().await?;
            within("the log", self.log.first()).await
        })
    }

    fn read(&self, after: Position, max: usize) -> BoxFuture<'_, Result<Page, EventLogError>> {
        Box::pin(async move {
            self.answers().await?;
            let page = within("the log", self.log.read(after, max)).await;
            self.delay().await;
            page
        })
    }

    fn tail(&self, after: Position) -> BoxFuture<'_, Result<Box<dyn Tail>, EventLogError>> {
        Box::pin(async move {
            self.answers().await?;
            let log = self.clone();
            let tail = within("the log", self.log.tail(after)).await?;
            let tail: Box<dyn Tail> = Box::new(FaultyTail { log, tail });
            Ok(tail)
        })
    }
}

/// A reader of a [`Faulty`] log.
struct FaultyTail {
    log: Faulty,
    tail: Box<dyn Tail>,
}

impl Tail for FaultyTail {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Page, EventLogError>> {
        Box::pin(async move {
            self.log.answers().await?;
            self.log.delay().await;
            within("an entry", self.tail.next(max)).await
        })
    }
}
