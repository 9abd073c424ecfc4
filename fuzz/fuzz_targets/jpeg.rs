//! JPEG files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::variant(
    b"\xff\xd8\xff",
    data,
    millrace_fuzz::QUERIES
));
