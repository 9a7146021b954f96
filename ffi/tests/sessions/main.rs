//! Sessions as an app uses them, on random models.

#[cfg(unix)]
mod adapter;
mod answers;
mod bad_input;
mod cancel;
mod close;
mod common;
mod listeners;
mod parallel;
mod real_model;
mod resources;
mod state;
