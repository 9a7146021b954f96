//! halfpi runs a local chat model inside an app.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
pub mod archive;
#[cfg(feature = "std")]
pub mod constrain;
#[cfg(feature = "std")]
pub mod engine;
#[cfg(feature = "std")]
mod error;
#[cfg(feature = "std")]
pub mod gguf;
#[cfg(feature = "std")]
pub mod model;
#[cfg(feature = "pack")]
pub mod pack;
#[cfg(feature = "std")]
mod pages;
#[cfg(feature = "std")]
pub mod pool;
#[cfg(feature = "std")]
pub mod sampler;
#[cfg(feature = "std")]
pub mod session;
#[cfg(feature = "std")]
pub mod stop;
#[cfg(feature = "std")]
pub mod template;
#[cfg(feature = "std")]
pub mod tokenizer;
#[cfg(feature = "std")]
pub mod tools;
pub mod transformer;

#[cfg(feature = "std")]
pub use error::{Error, Result};

/// The README's example compiles.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../../README.md")]
struct Readme;
