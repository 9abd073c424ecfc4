//! `Upload-Checksum`: what a piece must be.

use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::super::Error;

/// For `Tus-Checksum-Algorithm`.
pub const ALGORITHMS: &str = "sha1,sha256,sha512";

#[derive(Debug, Clone)]
pub struct Checksum {
    algorithm: &'static Algorithm,
    expected: Vec<u8>,
}

impl Checksum {
    pub const ALGORITHMS: &str = ALGORITHMS;

    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Bad(format!("Upload-Checksum is one of {ALGORITHMS}, a space, and Base64"));
        let (name, value) = text.split_once(' ').ok_or_else(wrong)?;
        let algorithm = match name {
            "sha1" => &SHA1_FOR_LEGACY_USE_ONLY,
            "sha256" => &SHA256,
            "sha512" => &SHA512,
            _ => return Err(wrong()),
        };
        let expected = STANDARD.decode(value).map_err(|_| wrong())?;
        Ok(Self { algorithm, expected })
    }

    pub(super) fn begin(&self) -> Context {
        Context::new(self.algorithm)
    }

    pub(super) fn is_met(&self, found: Context) -> bool {
        found.finish().as_ref() == self.expected
    }
}
