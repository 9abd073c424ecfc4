//! AVIF files: the magic is only a brand, so that what follows may be any boxes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::variant(
    b"\0\0\0\x14ftypavif\0\0\0\0avif",
    data,
    millrace_fuzz::QUERIES
));
