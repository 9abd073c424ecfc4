//! TIFF files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::variant(b"II\x2a\0", data, millrace_fuzz::QUERIES));
