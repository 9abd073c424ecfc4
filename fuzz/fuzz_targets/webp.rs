//! WebP files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::variant(
    b"RIFF\xff\xff\x00\x00WEBP",
    data,
    millrace_fuzz::QUERIES
));
