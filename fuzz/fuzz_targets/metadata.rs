//! EXIF blocks and colour profiles, in a WebP that carries both.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_fuzz::variant(
    b"RIFF\xff\xff\0\0WEBPVP8X\x0a\0\0\0\x28\0\0\0\0\0\0\0\0\0",
    data,
    &["keep=all", "fm=png&keep=exif,icc", "fm=json"]
));
