//! What is asked for, in all three dialects.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::params(data));
