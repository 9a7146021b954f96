//! Sessions as an app uses them, on random models.

mod basics;
mod common;
