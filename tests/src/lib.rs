//! Helpers shared by the cross-crate tests.

pub mod alloc;
pub mod archive;
pub mod corpus;
pub mod gguf;
pub mod packed;
pub mod state;
pub mod tokenizer;
