//! One file per framework: trait impls, and nothing else.

#[cfg(feature = "axum")]
mod axum;
