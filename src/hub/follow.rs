//! The task that delivers the entries of a log to the subscribers of a hub.

use std::{
    future::Future as _,
    pin::pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Poll,
};

use tokio::{
    task::yield_now,
    time::{Instant, sleep, sleep_until},
};

use super::{
    add::{Added, Addition},
    backing::{Backing, in_time},
    beginning::Beginning,
    item::Item,
    log::{Entry, EventLogError, PAGE, Page, Record, Tail},
    position::Position,
    replay::BACK_OFF,
    shared::Shared,
    sync::lock,
};
use crate::wake::wake_all;

/// The number of attempts to load a log that is trimmed meanwhile.
const LOADS: usize = 3;

/// The number of attempts to read a page of the log while it is loaded. A page may be too large to
/// arrive in time, so that the log makes the next one shorter.
const READS: usize = 3;

impl Shared {
    /// Delivers the entries of the log until the hub is closed.
    pub(super) async fn follow(&self) {
        let Some(backing) = &self.backing else {
            return;
        };
        let mut follow = pin!(async {
            let _only = backing.follower.lock().await;
            let following = Following { hub: self, backing };
            let mut back_off = BACK_OFF.0;
            loop {
                let before = self.order.last();
                // Ends with an error or after a gap.
                let followed = self.follow_tail(backing).await;
                if let Err(error) = &followed {
                    backing.contact.failed(error);
                    following.end();
                }
                if self.order.last() != before {
                    back_off = BACK_OFF.0;
                    if followed.is_ok() {
                        continue;
                    }
                }
                sleep(back_off).await;
                back_off = (2 * back_off).min(BACK_OFF.1);
            }
        });
        let mut closed = pin!(backing.closed.notified());
        std::future::poll_fn(|cx| {
            let is_notified = closed.as_mut().poll(cx).is_ready();
            if is_notified || self.order.is_closed() {
                return Poll::Ready(());
            }
            follow.as_mut().poll(cx)
        })
        .await;
    }

    /// Delivers entries until the log fails, or until it has lost some and was loaded again.
    async fn follow_tail(&self, backing: &Backing) -> Result<(), EventLogError> {
        let mut tail: Box<dyn Tail> = in_time(backing.log.tail(self.order.last())).await?;
        loop {
            let asked = Instant::now();
            let page = in_time(tail.next(PAGE)).await?;
            let behind = match page {
                Page::Entries(_) => tail.behind(),
                Page::Gap => None,
            };
            backing.contact.followed(behind, Instant::now());
            self.metrics.follows(true, behind);
            match page {
                Page::Entries(entries) if entries.is_empty() => {
                    // A tail that does not wait must not keep the task busy.
                    sleep_until(asked + BACK_OFF.0).await;
                }
                Page::Entries(entries) => {
                    self.deliver(backing, entries);
                    yield_now().await;
                }
                Page::Gap => return self.load(Some(self.order.last())).await,
            }
        }
    }

    /// Loads the entries of the log into the history, and begins a new generation with them. After a
    /// gap, the log was followed up to `followed`.
    pub(super) async fn load(&self, followed: Option<Position>) -> Result<(), EventLogError> {
        let Some(backing) = &self.backing else {
            return Ok(());
        };
        let mut loaded = None;
        for _ in 0..LOADS {
            loaded = self.load_entries(backing).await?;
            if loaded.is_some() {
                break;
            }
        }
        let (beginning, positions) = match loaded {
            Some(loaded) => loaded,
            // Nothing is proven up to the head.
            None => {
                let head = backing.ask(backing.log.head()).await?;
                (Beginning::at(head), vec![head])
            }
        };
        let head = positions.last().copied().unwrap_or_default();
        if let Some(last) = followed.filter(|last| beginning.floor <= *last) {
            // It was not trimmed beyond what was read, so entries at its end are lost. This is noted
            // before the first reset, because a client that is woken may resume at once.
            let is_kept = positions.binary_search(&last).is_ok();
            // If `last` is lost, the entries after it were appended after the loss.
            backing.lost(if is_kept { head } else { head.min(last) });
        }
        backing.know_only(positions);
        self.begin_generation(head, beginning);
        if followed.is_some() {
            self.metrics.log_lost();
        }
        Ok(())
    }

    /// Loads the entries of the log. Returns them and their positions, or the head if there are none.
    /// Returns `None` if the log changed meanwhile, as when it was trimmed.
    async fn load_entries(
        &self,
        backing: &Backing,
    ) -> Result<Option<(Beginning, Vec<Position>)>, EventLogError> {
        let head = backing.ask(backing.log.head()).await?;
        let Some(first) = backing.ask(backing.log.first()).await? else {
            return Ok(Some((Beginning::at(head), vec![head])));
        };
        let mut beginning = Beginning::at(first.at.before());
        let mut last = first.at;
        let mut positions = vec![last];
        beginning.load(first, self.limits, self.now());
        while last < head {
            let mut reads = 1..READS;
            let page = loop {
                match backing.ask(backing.log.read(last, PAGE)).await {
                    Err(_) if reads.next().is_some() => {}
                    read => break read?,
                }
            };
            let entries = match page {
                Page::Entries(entries) if !entries.is_empty() => entries,
                Page::Entries(_) | Page::Gap => return Ok(None),
            };
            for entry in entries {
                last = entry.at;
                positions.push(last);
                beginning.load(entry, self.limits, self.now());
            }
        }
        Ok(Some((beginning, positions)))
    }

    /// Begins a new generation at `head`, with the events that the log still holds.
    fn begin_generation(&self, head: Position, beginning: Beginning) {
        let names: Vec<Arc<str>> = beginning.loaded.keys().cloned().collect();
        {
            let mut present = lock(&self.beginning);
            self.topics
                .begin_generation(self.generation() + 1, beginning.floor);
            *present = beginning;
            self.order.move_to(head);
            self.generation.fetch_add(1, SeqCst);
        }
        self.finished.clear();
        for name in names {
            let topic = self.with_topic(&name, |topic, _| topic.clone());
            let finish = self.lock(&topic).finish.as_ref().map(|finish| finish.at);
            if let Some(at) = finish {
                self.finished(topic, at);
            }
        }
        // The other topics drop what they have. Otherwise it would count as memory.
        for topic in self.topics.iter() {
            let state = self.lock(&topic);
            self.tidy(&topic, state);
        }
        self.enforce_limits(head);
        self.metrics.holds(self.memory.bytes());
        self.notify_all();
    }

    /// Delivers entries to the subscribers. Entries that were already delivered are skipped.
    fn deliver(&self, backing: &Backing, entries: Vec<Entry>) {
        let last = self.order.last();
        let (mut items, mut bytes) = (0, 0);
        let mut wakers = Vec::new();
        backing.know(entries.iter().map(|entry| entry.at).filter(|at| *at > last));
        for entry in entries {
            if entry.at <= self.order.last() {
                continue;
            }
            let addition = match entry.record {
                Record::Event { event, coalesce } => {
                    items += 1;
                    Addition::Item(Item::new(event.as_bytes(), coalesce))
                }
                Record::Finish => Addition::Finish,
                Record::Remove => Addition::Remove,
            };
            match self.add(&entry.topic, addition, Some(entry.at)) {
                Added::New(at, size, waiting) => {
                    bytes += size;
                    wakers.append(&mut self.complete(at, waiting));
                }
                Added::Before(_) | Added::Finished => {}
                Added::Closed => break,
            }
        }
        self.enforce_limits(self.order.last());
        self.metrics.published(items, bytes);
        self.metrics.holds(self.memory.bytes());
        wake_all(wakers);
    }
}

/// A task that follows the log of a hub. The hub is not connected after a failure of a call, and
/// after the task has ended.
struct Following<'a> {
    hub: &'a Shared,
    backing: &'a Backing,
}

impl Following<'_> {
    fn end(&self) {
        self.backing.contact.disconnected();
        self.hub.metrics.follows(false, None);
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
