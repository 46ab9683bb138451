//! The scripts that run on the server.

use redis::Cmd;

/// A script, which the server runs without being interrupted.
///
/// `redis::Script` would load it in a round trip of its own when the server does not have it.
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    /// Returns the script that appends an entry.
    pub(super) fn append() -> Self {
        Self::new(concat!(
            include_str!("shared.lua"),
            include_str!("append.lua")
        ))
    }

    /// Returns the script that returns the last entry, and begins a log if there is none.
    pub(super) fn head() -> Self {
        Self::new(concat!(
            include_str!("shared.lua"),
            include_str!("head.lua")
        ))
    }

    fn new(code: &'static str) -> Self {
        let hash = redis::Script::new(code).get_hash().to_owned();
        Self { code, hash }
    }

    /// Returns a call by the script's hash, which fails if the server does not have the script.
    pub(super) fn by_hash(&self, keys: &[&str], args: &[&[u8]]) -> Cmd {
        call("EVALSHA", &self.hash, keys, args)
    }

    /// Returns a call that also stores the script on the server.
    pub(super) fn by_code(&self, keys: &[&str], args: &[&[u8]]) -> Cmd {
        call("EVAL", self.code, keys, args)
    }
}

fn call(name: &str, script: &str, keys: &[&str], args: &[&[u8]]) -> Cmd {
    let mut cmd = redis::cmd(name);
    cmd.arg(script).arg(keys.len()).arg(keys).arg(args);
    cmd
}
