//! A client of a hub, and what it is expected to see.

use std::collections::BTreeMap;

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Hub, LastEventId, Subscription,
    hub::{OnLag, Position, SubscriptionHandle},
};
use proptest::{prelude::RngExt as _, test_runner::TestRng};

use super::{HISTORY, Seen, TOPICS, Topics, model::Model, name, some_topics};

/// A client and its expected state.
pub(super) struct Client {
    subscription: Subscription,
    handle: Option<SubscriptionHandle>,
    /// Its topics, and for each the position after which it wants events and the run of the topic.
    places: BTreeMap<usize, (Position, u32)>,
    /// The topics that it holds a seat in. Those that are over stay.
    seats: Topics,
    on_lag: OnLag,
    after: Position,
    fresh: Option<Fresh>,
    /// True if the client has received an id.
    has_id: bool,
    over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fresh {
    New,
    Last(usize),
    First,
    Resumed,
    Unknown,
}

impl Client {
    pub(super) fn connect(hub: &Hub, model: &mut Model, chance: &mut TestRng) -> Self {
        let topics = some_topics(chance);
        let on_lag = [OnLag::Reset, OnLag::Disconnect, OnLag::Latest][chance.random_range(0..3)];
        let head = model.head;
        let (hi, lo) = (head.hi(), head.lo());
        let (fresh, after, id) = match chance.random_range(0..12) {
            0..2 => (Fresh::New, head, String::new()),
            2 => (Fresh::Last(chance.random_range(0..30)), head, String::new()),
            3 => (Fresh::First, head, String::new()),
            4 => (Fresh::Unknown, head, format!("{hi}-{}", lo + 1)),
            5 => (Fresh::Unknown, head, format!("{}-{lo}", hi - 1)),
            6 => (Fresh::Unknown, head, "garbage".into()),
            _ => {
                let back = chance.random_range(0..2 * (TOPICS * HISTORY) as u64);
                let after = Position::new(hi, lo.saturating_sub(back));
                (Fresh::Resumed, after, after.to_string())
            }
        };
        let id: LastEventId = id.parse().unwrap();
        model.join(&topics);
        let places = topics.iter().map(|&topic| {
            let from = Position::default();
            (topic, (from, model.topics[topic].run))
        });
        let places = places.collect();
        let subscription = hub.subscribe(topics.iter().map(|&topic| name(topic)));
        let mut subscription = subscription.after(id).on_lag(on_lag);
        match fresh {
            Fresh::Last(events) => subscription = subscription.replay(events),
            Fresh::First => subscription = subscription.from_start(),
            Fresh::New | Fresh::Resumed | Fresh::Unknown => {}
        }
        let handle = (chance.random_range(0..4) == 0).then(|| subscription.handle());
        let mut client = Self {
            subscription,
            handle,
            places,
            seats: topics,
            on_lag,
            after,
            has_id: matches!(fresh, Fresh::Resumed | Fresh::Unknown),
            fresh: Some(fresh),
            over: false,
        };
        client.start(model, fresh);
        client
    }

    pub(super) fn leave(self, model: &mut Model) {
        let Self {
            subscription,
            seats,
            ..
        } = self;
        drop(subscription);
        model.leave(&seats);
    }

    /// Adds or removes a topic, if the client has a handle and has read once.
    pub(super) fn change_topics(&mut self, model: &mut Model, chance: &mut TestRng) {
        let topic = chance.random_range(0..TOPICS);
        let Some(handle) = self
            .handle
            .as_ref()
            .filter(|_| self.fresh.is_none() && !self.over)
        else {
            return;
        };
        // The handle takes a seat at once, and a removed seat is given up at the next read.
        if self.seats.contains(&topic) {
            handle.remove(name(topic));
            self.places.remove(&topic);
            self.check(model);
            if self.seats.remove(&topic) {
                model.leave(&Topics::from([topic]));
            }
        } else {
            handle.add(name(topic));
            model.join(&Topics::from([topic]));
            self.seats.insert(topic);
            let added = &model.topics[topic];
            self.places.insert(topic, (added.last(), added.run));
        }
    }

    /// Reads all available events, and compares them with the expected ones.
    pub(super) fn check(&mut self, model: &Model) -> Vec<Seen> {
        let (got, goes_on) = read(&mut self.subscription);
        let before = format!(
            "{:?} {:?} after {} of {:?}, with a handle: {}",
            self.on_lag,
            self.fresh,
            self.after,
            self.places,
            self.handle.is_some()
        );
        let expected = self.predict(model, &got);
        assert_eq!((&got, goes_on), (&expected.0, expected.1), "{before}");
        got
    }

    /// Returns what the client sees next, and `false` if its subscription has ended.
    ///
    /// A client that lags may get some of the events before the first one that it has lost. `got`
    /// tells how many.
    fn predict(&mut self, model: &Model, got: &[Seen]) -> (Vec<Seen>, bool) {
        if self.over {
            return (vec![], false);
        }
        let fresh = self.fresh.take();
        let is_new = fresh == Some(Fresh::New) && self.on_lag == OnLag::Latest;
        let has_newest = !is_new || self.skips_to_newest(model, "unknown");
        let mut seen = Vec::new();
        if has_newest && !matches!(fresh, Some(Fresh::Resumed | Fresh::Unknown | Fresh::First)) {
            let first_lost = self.first_lost(model);
            if let Some(first_lost) = first_lost {
                let mut kept = self.newer(model);
                kept.retain(|seen| seen.0 < first_lost);
                let before = kept
                    .into_iter()
                    .zip(got)
                    .take_while(|(kept, got)| kept == *got);
                seen.extend(before.map(|(kept, _)| kept));
                self.after = seen.last().map_or(self.after, |seen| seen.0);
                self.has_id |= !seen.is_empty();
            }
        }
        let reason = match fresh {
            Some(Fresh::Unknown) => Some("unknown"),
            _ if !has_newest => Some("expired"),
            _ if self.first_lost(model).is_none() => None,
            Some(Fresh::Resumed | Fresh::First) => Some("expired"),
            _ => Some("lagged"),
        };
        match (reason, self.on_lag) {
            (None, _) => {
                let newer = self.newer(model);
                self.after = newer.last().map_or(self.after, |seen| seen.0);
                seen.extend(newer);
            }
            (Some("lagged"), OnLag::Disconnect) if self.has_id => {
                self.over = true;
                return (seen, false);
            }
            (Some(reason), OnLag::Latest) if has_newest && self.skips_to_newest(model, reason) => {
                let newer = self.newer(model);
                self.after = newer.last().map_or(self.after, |seen| seen.0);
                seen.extend(newer);
            }
            (Some(reason), _) => {
                seen.push(Seen(model.head, format!("event: reset\ndata: {reason}")));
                self.after = model.head;
                self.places
                    .values_mut()
                    .for_each(|place| place.0 = Position::default());
            }
        }
        self.has_id |= !seen.is_empty();
        // A topic that is finished is over when its events are read.
        self.places
            .retain(|topic, (_, run)| !model.topics[*topic].is_over(*run));
        self.over = model.closed || (self.places.is_empty() && self.handle.is_none());
        (seen, !self.over)
    }

    /// Sets the start of a client that has no last event ID.
    fn start(&mut self, model: &Model, fresh: Fresh) {
        match fresh {
            Fresh::Last(events) => {
                self.after = Position::default();
                let mut all = self.newer(model);
                let kept = all.split_off(all.len().saturating_sub(events));
                let first = kept.first().map_or(model.head, |first| before(first.0));
                for (topic, (from, _)) in &mut self.places {
                    *from = first.max(model.topics[*topic].lost.unwrap());
                }
            }
            Fresh::First => {
                self.after = Position::default();
                for (topic, (from, _)) in &mut self.places {
                    *from = model.topics[*topic].began;
                }
            }
            _ => {}
        }
    }

    /// Returns the new events of all topics, in order.
    fn newer(&self, model: &Model) -> Vec<Seen> {
        let places = self.places.iter();
        let newer = places.flat_map(|(topic, (from, run))| {
            let topic = &model.topics[*topic];
            let newer = topic.newer(self.after.max(*from));
            newer.filter(|_| topic.run == *run)
        });
        let mut newer: Vec<Seen> = newer.cloned().collect();
        newer.sort_by_key(|seen| seen.0);
        newer
    }

    /// Returns the position of the first event that the client has lost.
    fn first_lost(&self, model: &Model) -> Option<Position> {
        let places = self.places.iter();
        let lost = places.filter_map(|(topic, (from, run))| {
            model.topics[*topic].first_lost(*run, self.after.max(*from))
        });
        lost.min()
    }

    /// Skips to the newest event of each topic. Returns `false` if one of them was lost.
    fn skips_to_newest(&mut self, model: &Model, reason: &str) -> bool {
        let mut is_known = true;
        let unknown = reason == "unknown";
        let after = if unknown {
            Position::default()
        } else {
            self.after
        };
        for (topic, (from, run)) in &mut self.places {
            let topic = &model.topics[*topic];
            let since = if unknown { after } else { after.max(*from) };
            let newest = topic.newer(since).last();
            let is_lost = if unknown {
                topic.has_dropped
            } else {
                topic.first_lost(*run, since).is_some()
            };
            match newest {
                Some(newest) => *from = before(newest.0),
                None if is_lost => is_known = false,
                None => *from = since.max(topic.lost.unwrap()),
            }
        }
        if is_known {
            self.after = after;
        }
        is_known
    }
}

fn before(at: Position) -> Position {
    Position::new(at.hi(), at.lo() - 1)
}

/// Reads all available events. Returns them, and `false` if the subscription has ended.
fn read(subscription: &mut Subscription) -> (Vec<Seen>, bool) {
    let mut seen = Vec::new();
    loop {
        match subscription.next().now_or_never() {
            Some(Some(events)) => {
                let wire = String::from_utf8(events.as_bytes().to_vec()).unwrap();
                let before = seen.len();
                seen.extend(wire.split_terminator("\n\n").map(|event| {
                    let (event, id) = event.rsplit_once("\nid: ").unwrap();
                    Seen(id.parse().unwrap(), event.to_owned())
                }));
                assert_eq!(events.count(), (seen.len() - before) as u64);
            }
            Some(None) => return (seen, false),
            None => return (seen, true),
        }
    }
}
