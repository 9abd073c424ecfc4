//! Parses the command line and runs the command.

fn main() {}
