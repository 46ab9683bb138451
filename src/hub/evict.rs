//! The bounds on the memory and the age of what a hub holds.

use super::{memory::CacheOwner, position::Position, shared::Shared};

impl Shared {
    /// Drops caches, and then the oldest events, until the history is within its limits. The event
    /// at `newest` is kept, unless it is too old.
    pub(super) fn enforce_limits(&self, newest: Position) {
        while let Some((owner, must_go)) = self.memory.take_oldest_cache() {
            self.check_cache(owner, must_go);
        }
        if !self.memory.is_over() && !self.memory.has_age() {
            return;
        }
        let now = self.now();
        let mut rows = 0;
        while let Some((listed, topic)) = self.memory.take_eldest(now, rows < MAX_OLD) {
            rows += 1;
            let mut state = self.lock(&topic);
            state.listed = Position::default();
            let Some((at, time)) = state.eldest() else {
                self.tidy(&topic, state);
                continue;
            };
            // If the row was wrong, there may be an older event in another topic.
            let is_first = at <= listed;
            let is_kept = at == newest && !self.memory.is_too_old(time, now);
            if is_first && !is_kept && !state.trim() {
                self.restart(&mut state); // forgets that the topic was finished
            }
            self.tidy(&topic, state);
            if is_first && is_kept {
                return;
            }
        }
    }

    /// Drops a cache, or keeps it if there is one and it need not go.
    fn check_cache(&self, owner: CacheOwner, must_go: bool) {
        match &owner {
            CacheOwner::Topic(topic) => {
                let mut state = topic.lock();
                if must_go || !state.has_runs() {
                    state.forget_runs();
                    state.is_cached = false;
                    if !state.is_removed {
                        self.report(topic, &mut state);
                    }
                    return;
                }
            }
            CacheOwner::Set(set) => {
                // A set that is being given up must not have another owner.
                let _sets = self.sets.lock();
                let Some(set) = set.upgrade() else { return };
                if must_go {
                    return set.clear(&self.memory);
                }
            }
        }
        self.memory.keep_cache(owner);
    }
}

/// The number of events that one publish drops because they are too old. It takes up to 3 us each.
const MAX_OLD: usize = 128;
