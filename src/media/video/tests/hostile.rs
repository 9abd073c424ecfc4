//! Hostile files end in errors, in bounded time.
