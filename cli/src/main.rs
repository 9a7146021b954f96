//! The `halfpi` command.
fn main() {}
