//! `[access]`: keys for tokens and signatures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Keys by which tokens and signed addresses are known to be ours. `millrace token` makes tokens, `millrace sign` addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Access {
    /// Secret for tokens (JWT with HS256) and signed addresses: at least 32 bytes, such as `openssl rand -base64 32` makes.
    /// Better in a file, or in the environment as `MILLRACE__ACCESS__SECRET`.
    #[schemars(with = "String")]
    pub secret: Secret,
    /// Files with one secret each. Of all secrets the first signs, `secret` before those of files; all are accepted, so that a
    /// new one can be put in front while tokens of the old one are still about.
    pub secret_files: Vec<String>,
    /// File with public keys (JWKS, RFC 7517) of whoever else makes tokens: Ed25519 (EdDSA) and P-256 (ES256).
    pub jwks_file: String,
    /// `iss` that tokens must have; empty: any or none.
    pub issuer: String,
    /// `aud` that tokens must have; empty: none may be there.
    pub audience: String,
    /// How far the clocks of those who make tokens may differ from ours; at most 300.
    pub leeway_secs: u32,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            secret: Secret::default(),
            secret_files: Vec::new(),
            jwks_file: String::new(),
            issuer: String::new(),
            audience: String::new(),
            leeway_secs: 30,
        }
    }
}
