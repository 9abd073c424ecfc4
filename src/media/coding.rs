//! Content codings (RFC 9110 §8.4.1): text made shorter for the way.

use std::io::{self, Write};

use bytes::Bytes;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    Brotli,
    Zstd,
    Gzip,
}

/// Levels at which a core still makes tens of megabytes a second: the first client waits for it.
const BROTLI_QUALITY: i32 = 5;
const ZSTD_LEVEL: i32 = 9;
const GZIP_LEVEL: u32 = 6;

/// log2 of brotli's window: 4 MiB, what RFC 7932 decoders expect at most.
const BROTLI_WINDOW: i32 = 22;

impl Coding {
    /// The one that serves best first, where a client likes several equally.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The word of `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The same bytes in always give the same bytes out.
    pub fn encode(self, bytes: &[u8]) -> io::Result<Bytes> {
        let out = Vec::with_capacity(bytes.len() / 3);
        let encoded = match self {
            Self::Brotli => {
                let params = brotli::enc::BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: BROTLI_WINDOW,
                    size_hint: bytes.len(),
                    ..Default::default()
                };
                let mut writer = brotli::CompressorWriter::with_params(out, 64 << 10, &params);
                writer.write_all(bytes)?;
                writer.into_inner()
            }
            Self::Zstd => {
                let mut writer = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                writer.set_pledged_src_size(Some(bytes.len() as u64))?;
                writer.write_all(bytes)?;
                writer.finish()?
            }
            Self::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
                writer.write_all(bytes)?;
                writer.finish()?
            }
        };
        Ok(encoded.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out),
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        }
        .unwrap();
        out
    }

    #[test]
    fn what_is_coded_is_shorter_and_comes_back_whole() {
        let text = "to be, or not to be: that is the question\n".repeat(5000);
        for coding in Coding::ALL {
            for bytes in [text.as_bytes(), b"", b"x"] {
                let coded = coding.encode(bytes).unwrap();
                assert_eq!(decode(coding, &coded), bytes, "{coding:?}");
                assert_eq!(coding.encode(bytes).unwrap(), coded, "{coding:?}");
            }
            assert!(coding.encode(text.as_bytes()).unwrap().len() < text.len() / 50, "{coding:?}");
        }
    }
}
