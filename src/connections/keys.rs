//! The number of open streams of each key.

use std::{
    borrow::Borrow,
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher as _, RandomState},
    mem,
    sync::Arc,
};

/// A key as a thin pointer, because every stream stores one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) Arc<Arc<str>>);

/// Open streams per key. Keys without streams are absent.
///
/// The keys are in shards, and one shard is split when there are too many keys for their number. A
/// single map would move all keys whenever it grows, which takes 17 ms with 57,344 keys and is done
/// under the lock of the registry.
pub(super) struct Keys {
    shards: Vec<HashMap<Key, usize>>,
    /// The number of keys in all shards.
    keys: usize,
    /// Chooses the shard of a key. The shards have other hashers, since all keys of a shard agree in
    /// some bits of this one.
    hasher: RandomState,
}

impl Keys {
    /// Counts a stream, and returns its key. All open streams with the same key share one copy.
    pub(super) fn add(&mut self, key: Arc<str>) -> Key {
        let shard = self.shard_of(&key);
        let shard = &mut self.shards[shard];
        if let Some((shared, streams)) = shard.get_key_value(&*key) {
            let (shared, streams) = (shared.clone(), streams + 1);
            shard.insert(shared.clone(), streams);
            return shared;
        }
        let key = Key(Arc::new(key));
        shard.insert(key.clone(), 1);
        self.keys += 1;
        if self.keys > self.shards.len() * KEYS_PER_SHARD {
            self.split();
        }
        key
    }

    /// Stops counting a stream.
    pub(super) fn remove(&mut self, key: &Key) {
        let shard = self.shard_of(&key.0);
        if let Entry::Occupied(mut entry) = self.shards[shard].entry(key.clone()) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
                self.keys -= 1;
            }
        }
    }

    /// Returns a key that has open streams, and their number.
    pub(super) fn get(&self, key: &str) -> Option<(&Key, usize)> {
        let found = self.shards[self.shard_of(key)].get_key_value(key);
        found.map(|(key, streams)| (key, *streams))
    }

    /// Returns the index of the shard for a key: the lower bits of its hash. One bit less is used
    /// for the shards that are still to be split.
    fn shard_of(&self, key: &str) -> usize {
        let all = self.shards.len().next_power_of_two();
        let index = self.hasher.hash_one(key) as usize % all;
        if index < self.shards.len() {
            index
        } else {
            index - all / 2
        }
    }

    /// Adds a shard and moves its keys there, which are all in one other shard.
    fn split(&mut self) {
        let new = self.shards.len();
        self.shards.push(HashMap::new());
        let old = new - self.shards.len().next_power_of_two() / 2;
        for (key, streams) in mem::take(&mut self.shards[old]) {
            let shard = self.shard_of(&key.0);
            self.shards[shard].insert(key, streams);
        }
    }
}

/// The average number of keys from which on a shard is split. Moving twice as many takes 0.1 ms.
const KEYS_PER_SHARD: usize = 256;

impl Default for Keys {
    fn default() -> Self {
        Self {
            shards: vec![HashMap::new()],
            keys: 0,
            hasher: RandomState::new(),
        }
    }
}

impl Key {
    /// Returns whether these are the same copy of a key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_while_shards_are_split() {
        const KEYS: usize = 20_000;
        let name = |n: usize| Arc::<str>::from(format!("key {n}"));
        let mut keys = Keys::default();
        for n in 0..KEYS {
            assert!(keys.get(&name(n)).is_none());
            let first = keys.add(name(n));
            assert!(
                keys.add(name(n / 2))
                    .is_same(keys.get(&name(n / 2)).unwrap().0)
            );
            assert!(first.is_same(keys.get(&name(n)).unwrap().0));
        }
        let most = keys.shards.iter().map(HashMap::len).max();
        assert!(most < Some(4 * KEYS_PER_SHARD), "{most:?}");
        for n in 0..KEYS {
            let streams = if n < KEYS / 2 { 3 } else { 1 };
            let (key, count) = keys.get(&name(n)).unwrap();
            assert_eq!(count, streams);
            let key = key.clone();
            (0..streams).for_each(|_| keys.remove(&key));
            assert!(keys.get(&name(n)).is_none());
        }
        assert_eq!(keys.keys, 0);
    }
}
