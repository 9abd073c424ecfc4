//! Integration tests, all in one binary: one link instead of many.

mod edge;
mod origin;
mod origin_double;
