//! Integration tests, all in one binary: one link instead of many.

mod architecture;
mod origin;
mod origin_double;
