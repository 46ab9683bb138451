//! The keys of a log on the server, and the commands that read them.

use redis::Cmd;

/// The keys of a log. Their common hash tag keeps them on one node of a cluster.
pub(super) struct Keys {
    pub(super) stream: String,
    /// The mark of the last entry.
    newest: String,
    /// The mark of the start, which comes before the first entry that was ever appended.
    start: String,
    /// The beginning of every idempotency key.
    idempotency: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            stream: format!("{{{prefix}}}:log"),
            newest: format!("{{{prefix}}}:newest"),
            start: format!("{{{prefix}}}:start"),
            idempotency: format!("{{{prefix}}}:key:"),
        }
    }

    /// Returns the keys that every script has.
    pub(super) fn of_log(&self) -> [&str; 3] {
        [&self.stream, &self.newest, &self.start]
    }

    /// Returns this command, and those that return the marks of the last entry and of the start.
    pub(super) fn with_ends(&self, command: Cmd) -> [Cmd; 3] {
        [command, self.newest(), Cmd::get(&self.start)]
    }

    /// Returns the command that returns the mark of the last entry.
    pub(super) fn newest(&self) -> Cmd {
        Cmd::get(&self.newest)
    }

    /// Returns the command that returns the type of the stream, or that there is none.
    pub(super) fn stream_type(&self) -> Cmd {
        let mut command = redis::cmd("TYPE");
        command.arg(&self.stream);
        command
    }

    /// Returns the command that returns entries from `start` on.
    pub(super) fn range(&self, start: &str, count: usize) -> Cmd {
        let mut range = redis::cmd("XRANGE");
        range.arg(&self.stream).arg(start).arg("+");
        range.arg("COUNT").arg(count);
        range
    }

    /// Returns the key for an idempotency key, which belongs to a topic.
    pub(super) fn idempotency(&self, topic: &str, key: &str) -> String {
        format!("{}{}:{topic}:{key}", self.idempotency, topic.len())
    }
}
