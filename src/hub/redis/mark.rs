//! The chain of entries: each one names the one before it.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use crate::hub::position::Position;

/// An entry of the chain, or the start of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: Position,
    /// The number of the entry since the start of the log, which is 0.
    pub(super) number: u64,
    pub(super) tag: Tag,
}

/// A random number that tells an entry from any other, also from one that took the same position
/// after a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u64);

/// The place of an entry in the chain, as the entry stores it: its number, its tag, and the tag of the
/// entry before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    number: u64,
    tag: Tag,
    previous: Tag,
}

/// A source of tags.
pub(super) struct Tags {
    random: RandomState,
    given: AtomicU64,
}

impl Mark {
    /// Returns the mark of the entry at `at`, if it directly follows this one.
    pub(super) fn followed_by(self, at: Position, link: Link) -> Option<Self> {
        let follows = at > self.at
            && link.previous == self.tag
            && Some(link.number) == self.number.checked_add(1);
        follows.then(|| link.mark(at))
    }
}

impl Link {
    pub(super) fn mark(self, at: Position) -> Mark {
        let Self { number, tag, .. } = self;
        Mark { at, number, tag }
    }
}

impl Tags {
    pub(super) fn new() -> Self {
        Self {
            random: RandomState::new(),
            given: AtomicU64::new(0),
        }
    }

    /// Returns the text of a new tag.
    pub(super) fn next(&self) -> String {
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.given.fetch_add(1, SeqCst));
        format!("{:016x}", hasher.finish())
    }
}

impl FromStr for Mark {
    type Err = BrokenChain;

    /// Parses `position number tag`.
    fn from_str(text: &str) -> Result<Self, BrokenChain> {
        let [at, number, tag] = parts(text)?;
        Ok(Self {
            at: at.parse().map_err(|_| BrokenChain)?,
            number: number.parse().map_err(|_| BrokenChain)?,
            tag: tag.parse()?,
        })
    }
}

impl FromStr for Link {
    type Err = BrokenChain;

    /// Parses `number tag previous-tag`.
    fn from_str(text: &str) -> Result<Self, BrokenChain> {
        let [number, tag, previous] = parts(text)?;
        Ok(Self {
            number: number.parse().map_err(|_| BrokenChain)?,
            tag: tag.parse()?,
            previous: previous.parse()?,
        })
    }
}

impl FromStr for Tag {
    type Err = BrokenChain;

    fn from_str(text: &str) -> Result<Self, BrokenChain> {
        match u64::from_str_radix(text, 16) {
            Ok(tag) if text.len() == 16 => Ok(Self(tag)),
            _ => Err(BrokenChain),
        }
    }
}

fn parts<const N: usize>(text: &str) -> Result<[&str; N], BrokenChain> {
    let parts: Vec<&str> = text.split(' ').collect();
    parts.try_into().map_err(|_| BrokenChain)
}

/// The error of a text that is not part of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokenChain;

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "1 00000000000000aa 0000000000000001";

    fn mark(text: &str) -> Mark {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_follows_only_the_one_that_it_names() {
        let start = mark("7-0 0 0000000000000001");
        let first = start.followed_by(Position::new(7, 1), FIRST.parse().unwrap());
        assert_eq!(first, Some(mark("7-1 1 00000000000000aa")));
        let others = [
            "2 00000000000000aa 0000000000000001",
            "1 00000000000000aa 0000000000000002",
            "0 00000000000000aa 0000000000000001",
        ];
        for other in others {
            let followed = start.followed_by(Position::new(7, 1), other.parse().unwrap());
            assert_eq!(followed, None, "{other}");
        }
        let same_place = start.followed_by(Position::new(7, 0), FIRST.parse().unwrap());
        assert_eq!(same_place, None);
    }

    #[test]
    fn garbage_is_no_link() {
        let garbage = [
            "",
            "1",
            "1 aa 01",
            "x 00000000000000aa 0000000000000001",
            "1 00000000000000ag 0000000000000001",
            "1 +0000000000000aa 0000000000000001 ",
            "1 00000000000000aa 0000000000000001 2",
        ];
        for text in garbage {
            assert_eq!(text.parse::<Link>(), Err(BrokenChain), "{text:?}");
        }
    }

    #[test]
    fn tags_differ() {
        let (tags, others) = (Tags::new(), Tags::new());
        let first = tags.next();
        assert_eq!(first.len(), 16);
        assert!(first != tags.next() && first != others.next());
    }
}
