//! Integration tests, all in one binary: one link instead of many.

mod architecture;
mod edge;
mod origin;
mod origin_double;
