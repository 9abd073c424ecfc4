//! Animated GIF that becomes WebP and GIF.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::variant(
    b"GIF89a\x08\0\x08\0\x80\0\0\0\0\0\xff\xff\xff",
    data,
    &["w=4", "w=4&fm=gif"]
));
