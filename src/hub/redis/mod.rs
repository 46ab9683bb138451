//! The log of several servers in Redis or Valkey.

mod builder;
mod check;
mod connection;
mod entry;
mod error;
mod keys;
mod log;
mod mark;
mod script;
mod server;
mod store;
mod tail;
mod warning;

pub use self::{
    builder::RedisLogBuilder, error::RedisLogError, log::RedisLog, warning::RedisWarning,
};
