//! GIF files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::variant(b"GIF89a", data, millrace_fuzz::QUERIES));
