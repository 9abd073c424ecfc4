//! Keys that tokens are checked with. Each is for one algorithm, whatever a token says of itself; several are accepted at a
//! time, so that one can take over from another without a gap.

use std::{collections::HashSet, fmt, sync::Arc};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};

use super::claims::Claims;

/// A text of at least 256 bits. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

/// One key and its algorithm.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
    validation: Validation,
}

/// All that are accepted.
#[derive(Clone, Default)]
pub struct Keyring {
    keys: Vec<Key>,
    secrets: Vec<Secret>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("a secret has at least {} bytes: try `openssl rand -base64 32`", Secret::LEAST)]
    Short,
    #[error("a secret must not be one byte again and again: try `openssl rand -base64 32`")]
    Monotonous,
    #[error("this is no set of keys (RFC 7517): {0}")]
    NotASet(String),
    #[error("key {0} is for signing neither with Ed25519 nor with P-256")]
    Unsupported(usize),
}

impl Secret {
    const LEAST: usize = 32;
    /// Fewer different bytes are no secret.
    const LEAST_VARIETY: usize = 8;

    /// White space around it does not belong to it: files end in a line feed.
    pub fn new(text: &str) -> Result<Self, BadKey> {
        let bytes = text.trim().as_bytes();
        if bytes.len() < Self::LEAST {
            return Err(BadKey::Short);
        }
        if bytes.iter().collect::<HashSet<_>>().len() < Self::LEAST_VARIETY {
            return Err(BadKey::Monotonous);
        }
        Ok(Self(bytes.into()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Names the key in tokens without telling it.
    fn id(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"millrace key id\0");
        context.update(&self.0);
        URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..6])
    }

    /// A token signed with it.
    pub fn sign(&self, claims: &Claims) -> Option<String> {
        let header = Header { kid: Some(self.id()), ..Header::new(Algorithm::HS256) };
        encode(&header, claims, &EncodingKey::from_secret(&self.0)).ok()
    }
}

impl Key {
    fn of_secret(secret: &Secret) -> Self {
        Self::new(Some(secret.id()), Algorithm::HS256, DecodingKey::from_secret(&secret.0))
    }

    fn new(id: Option<String>, algorithm: Algorithm, decoding: DecodingKey) -> Self {
        let mut validation = Validation::new(algorithm);
        // Times, issuer and audience are judged by us, under our clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self { id, algorithm, decoding, validation }
    }

    fn of_jwk(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        let signs = !matches!(common.public_key_use, Some(PublicKeyUse::Encryption));
        let (algorithm, named) = match &jwk.algorithm {
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            AlgorithmParameters::EllipticCurve(pair) if pair.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            _ => return None,
        };
        if !signs || common.key_algorithm.as_ref().is_some_and(|said| *said != named) {
            return None;
        }
        Some(Self::new(common.key_id.clone(), algorithm, DecodingKey::from_jwk(jwk).ok()?))
    }
}

impl Keyring {
    /// The first secret is the one that signs.
    pub fn new(secrets: Vec<Secret>, public: Vec<Key>) -> Self {
        let keys = secrets.iter().map(Key::of_secret).chain(public).collect();
        Self { keys, secrets }
    }

    /// The public keys of a set in JSON.
    pub fn public(json: &str) -> Result<Vec<Key>, BadKey> {
        let set: JwkSet = serde_json::from_str(json).map_err(|wrong| BadKey::NotASet(wrong.to_string()))?;
        let key = |(place, jwk)| Key::of_jwk(jwk).ok_or(BadKey::Unsupported(place));
        set.keys.iter().enumerate().map(key).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// What a token says that one of the keys has signed. A key counts only for its own algorithm, and only if the token names
    /// it or none.
    pub(super) fn verify(&self, token: &[u8]) -> Option<Claims> {
        let header = decode_header(token).ok()?;
        // Nothing that must be understood is (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return None;
        }
        let fits = |key: &&Key| {
            let named = header.kid.is_none() || key.id.is_none() || header.kid == key.id;
            key.algorithm == header.alg && named
        };
        let claims = |key: &Key| decode(token, &key.decoding, &key.validation).ok();
        self.keys.iter().filter(fits).find_map(claims).map(|data| data.claims)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}
