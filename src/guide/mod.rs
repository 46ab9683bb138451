//! Longer pages: what to do first, then why.
//!
//! They are part of the documentation only. A build of the crate leaves them out.

/// The table of migration from axum's own `Sse`.
#[doc = include_str!("from_axum.md")]
pub mod from_axum {}

/// The needs of each framework, and the differences between them.
#[doc = include_str!("frameworks.md")]
pub mod frameworks {}

/// Clients that read slowly or not at all.
#[doc = include_str!("slow_clients.md")]
pub mod slow_clients {}

/// Topics of a hub: where clients start, what they may miss, and how to watch it.
#[doc = include_str!("hub.md")]
pub mod hub {}

/// Browsers, SDKs and proxies: what they need and what was tested.
#[doc = include_str!("clients_and_proxies.md")]
#[doc = include_str!("../../tests/real/results.md")]
pub mod clients_and_proxies {}

/// One hub on several servers.
#[doc = include_str!("scaling_out.md")]
#[doc = ""]
#[cfg_attr(feature = "redis", doc = "[`RedisLog`]: crate::hub::RedisLog")]
#[cfg_attr(
    feature = "redis",
    doc = "[`max_entries`]: crate::hub::RedisLogBuilder::max_entries"
)]
#[cfg_attr(
    feature = "redis",
    doc = "[`max_age`]: crate::hub::RedisLogBuilder::max_age"
)]
#[cfg_attr(
    feature = "redis",
    doc = "[`warnings`]: crate::hub::RedisLog::warnings"
)]
#[cfg_attr(
    feature = "redis",
    doc = "[`RedisLogBuilder::connect`]: crate::hub::RedisLogBuilder::connect"
)]
#[cfg_attr(
    feature = "redis",
    doc = "[`retry_for`]: crate::hub::RedisLogBuilder::retry_for"
)]
#[cfg_attr(
    feature = "redis",
    doc = "[`sentinel_builder`]: crate::hub::RedisLog::sentinel_builder"
)]
#[cfg_attr(not(feature = "redis"), doc = "[`RedisLog`]: crate#features")]
#[cfg_attr(not(feature = "redis"), doc = "[`max_entries`]: crate#features")]
#[cfg_attr(not(feature = "redis"), doc = "[`max_age`]: crate#features")]
#[cfg_attr(not(feature = "redis"), doc = "[`warnings`]: crate#features")]
#[cfg_attr(
    not(feature = "redis"),
    doc = "[`RedisLogBuilder::connect`]: crate#features"
)]
#[cfg_attr(not(feature = "redis"), doc = "[`retry_for`]: crate#features")]
#[cfg_attr(not(feature = "redis"), doc = "[`sentinel_builder`]: crate#features")]
pub mod scaling_out {}

/// Tokens of a language model.
#[doc = include_str!("llm.md")]
pub mod llm {}

/// From channels, iterators and callbacks to a source of events.
#[doc = include_str!("sources.md")]
pub mod sources {}
