//! PNG files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::variant(
    b"\x89PNG\r\n\x1a\n",
    data,
    millrace_fuzz::QUERIES
));
