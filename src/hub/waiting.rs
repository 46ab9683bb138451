//! The subscriptions that wait for a change of a topic.

use std::{sync::Arc, task::Waker};

use super::{
    seats::PAGE,
    topic::{Topic, TopicState},
};

/// The subscriptions that wait for a change of a topic.
#[must_use = "nobody is notified until the wakers are woken"]
pub(super) struct Waiting {
    wakers: Vec<Waker>,
    /// The topic and its armed seats, if they are more than one page. None of them is notified yet.
    pages: Option<(Arc<Topic>, Vec<u32>)>,
}

impl Waiting {
    /// Takes the subscriptions that wait for a change of `topic`.
    pub(super) fn take(topic: &Arc<Topic>, state: &mut TopicState) -> Self {
        let mut wakers = Vec::new();
        let armed = topic.take_waiting(state, &mut wakers);
        let pages = (!armed.is_empty()).then(|| (topic.clone(), armed));
        Self { wakers, pages }
    }

    /// Notifies the rest, one page after the other, and returns all wakers. The topic must not be
    /// locked.
    pub(super) fn signal(mut self) -> Vec<Waker> {
        if let Some((topic, armed)) = self.pages {
            self.wakers.reserve_exact(armed.len());
            for page in armed.chunks(PAGE) {
                topic.take_page(page, &mut self.wakers);
            }
            topic.lock().seats.reuse(armed);
        }
        self.wakers
    }
}
