//! Integration tests, all in one binary: one link instead of many.
