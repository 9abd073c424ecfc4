//! BMP files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::variant(b"BM", data, millrace_fuzz::QUERIES));
