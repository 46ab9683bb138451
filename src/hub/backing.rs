//! The log behind a hub, and the reads of it that clients share.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{Notify, OnceCell, Semaphore},
    time::{Instant, timeout},
};

use super::{
    contact::Contact,
    known::Known,
    log::{EventLog, EventLogError},
    missed::MissedPage,
    position::Position,
    sync::{Mutex, lock},
};

/// The log behind a hub.
pub(super) struct Backing {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) contact: Contact,
    /// Held by the one task that delivers what is new.
    pub(super) follower: tokio::sync::Mutex<()>,
    /// Notified when the hub is closed.
    pub(super) closed: Notify,
    /// Limits concurrent reads, because after a restart all clients reconnect at the same time.
    readers: Semaphore,
    /// The pages that clients read or yield, by the position that they follow.
    pages: Mutex<BTreeMap<Position, Weak<SharedPage>>>,
    /// The last positions that were read from the log.
    known: Mutex<Known>,
    /// The position before which a client's id is from before the last loss at the end of the log. Such
    /// a client may have missed a lost entry.
    lost_at: Mutex<Position>,
}

/// A page that is read when the first client needs it.
pub(super) type SharedPage = OnceCell<MissedPage>;

/// The maximum number of reads for clients at the same time.
const READERS: usize = 4;

/// The longest time that a call of the log may take.
pub(super) const CALL: Duration = Duration::from_secs(5);

impl Backing {
    pub(super) fn new(log: Arc<dyn EventLog>) -> Self {
        Self {
            log,
            contact: Contact::default(),
            follower: tokio::sync::Mutex::default(),
            closed: Notify::new(),
            readers: Semaphore::new(READERS),
            pages: Mutex::default(),
            known: Mutex::default(),
            lost_at: Mutex::default(),
        }
    }

    /// Returns the page after a position. Clients share the read of a page while one of them uses it.
    pub(super) async fn page(&self, after: Position) -> Result<Arc<SharedPage>, EventLogError> {
        let page = {
            let mut pages = lock(&self.pages);
            if let Some(page) = pages.get(&after).and_then(Weak::upgrade) {
                page
            } else {
                pages.retain(|_, page| page.strong_count() > 0);
                let page = Arc::new(OnceCell::new());
                pages.insert(after, Arc::downgrade(&page));
                page
            }
        };
        page.get_or_try_init(async || {
            let _turn = self.readers.acquire().await?;
            let entries = lock(&self.known).page_after(after);
            let page = in_time(self.log.read(after, entries)).await?;
            Ok::<_, EventLogError>(page.into())
        })
        .await?;
        Ok(page)
    }

    /// Waits for a call that loads the log, which fails after [`CALL`]. Records its answer.
    pub(super) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, EventLogError>>,
    ) -> Result<T, EventLogError> {
        let answer = in_time(call).await?;
        self.contact.answered(Instant::now());
        Ok(answer)
    }

    /// Remembers the positions of entries.
    pub(super) fn know(&self, positions: impl Iterator<Item = Position>) {
        lock(&self.known).add(positions);
    }

    /// Remembers only these positions.
    pub(super) fn know_only(&self, positions: Vec<Position>) {
        *lock(&self.known) = Known::new(positions);
    }

    /// Remembers that the log has lost entries at its end. Ids before `at` may be from before that.
    pub(super) fn lost(&self, at: Position) {
        *lock(&self.lost_at) = at;
    }

    /// Returns whether a client with this id may have missed entries that the log has lost.
    pub(super) fn has_lost(&self, after: Position) -> bool {
        after < *lock(&self.lost_at)
    }

    /// Returns whether an entry has this position, as far as that is known.
    pub(super) fn knows(&self, at: Position) -> bool {
        lock(&self.known).has(at)
    }
}

/// Waits for a call of the log, which fails after [`CALL`].
pub(super) async fn in_time<T>(
    call: impl Future<Output = Result<T, EventLogError>>,
) -> Result<T, EventLogError> {
    match timeout(CALL, call).await {
        Ok(result) => result,
        Err(_) => Err("the log did not answer in time".into()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::hub::MemoryLog;

    fn backing() -> Backing {
        Backing::new(Arc::new(MemoryLog::new(7, 9)))
    }

    #[tokio::test]
    async fn pages_are_shared_while_they_are_in_use() {
        let backing = backing();
        let page = |lo| {
            let page = backing.page(Position::new(7, lo));
            page.now_or_never().unwrap().unwrap()
        };
        let first = page(0);
        let second = page(1);
        assert!(Arc::ptr_eq(&first, &page(0)));
        drop((first, second));
        let _third = page(2);
        assert_eq!(lock(&backing.pages).len(), 1);
    }
}
