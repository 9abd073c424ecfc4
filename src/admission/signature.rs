//! Signed addresses: for one address, or for all below a path. Whoever has one may hand it on; it is good until its end.
//!
//! One for a path stands in front of it, as `/_millrace/s/{expires}.{depth}.{name}.{signature}/…`, so that what a playlist names
//! relative to itself is signed along with it. `depth` is how many segments of what follows are signed.

use std::borrow::Cow;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;

use super::{Admission, Denied, Secret};

/// What stands in front of a signed path.
pub const IN_FRONT: &str = "/_millrace/s/";
const EXPIRES: &str = "mr_expires";
const SIGNATURE: &str = "mr_signature";
/// Of a name in a signature, which tells one viewer's from another's.
const MAX_NAME: usize = 64;

/// A signature as it came with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    Exact {
        expires: i64,
        tag: Vec<u8>,
    },
    Below {
        expires: i64,
        depth: usize,
        name: String,
        tag: Vec<u8>,
    },
    /// It looks like one.
    Broken,
}

impl Signature {
    /// Takes the signature, if there is one, off the path and query of a request line.
    pub fn take(raw: &str) -> (Option<Self>, Cow<'_, str>) {
        if let Some(rest) = behind_mark(raw) {
            let (token, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            return (Some(Self::below(token).unwrap_or(Self::Broken)), path.into());
        }
        match raw.split_once('?') {
            Some((path, query)) if has_signature(query) => Self::exact(path, query),
            _ => (None, raw.into()),
        }
    }

    fn below(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (expires, depth, name, tag) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let shaped = parts.next().is_none() && is_name(name);
        let (depth, tag) = (depth.parse().ok()?, URL_SAFE_NO_PAD.decode(tag).ok()?);
        shaped.then_some(Self::Below { expires: number(expires)?, depth, name: name.to_owned(), tag })
    }

    fn exact<'a>(path: &str, query: &str) -> (Option<Self>, Cow<'a, str>) {
        let of = |name: &str, pair: &str| {
            let (written, value) = pair.split_once('=')?;
            is_written(written, name).then(|| value.to_owned())
        };
        let (mut expires, mut tag, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for pair in query.split('&') {
            match (of(EXPIRES, pair), of(SIGNATURE, pair)) {
                (Some(value), _) => expires.push(value),
                (_, Some(value)) => tag.push(value),
                _ => left.push(pair),
            }
        }
        let rest = if left.is_empty() { path.to_owned() } else { format!("{path}?{}", left.join("&")) };
        let signature = match (&expires[..], &tag[..]) {
            ([expires], [tag]) => number(expires)
                .zip(URL_SAFE_NO_PAD.decode(tag).ok())
                .map(|(expires, tag)| Self::Exact { expires, tag }),
            _ => None,
        };
        (Some(signature.unwrap_or(Self::Broken)), rest.into())
    }

    fn message(&self, target: &str) -> Option<String> {
        match self {
            Self::Exact { expires, .. } => Some(format!("millrace signed address\n{target}\n{expires}")),
            Self::Below { expires, depth, name, .. } => {
                let path = target.split('?').next().unwrap_or_default();
                let prefix = above(path, *depth)?;
                Some(format!("millrace signed path\n{prefix}\n{expires}\n{name}"))
            }
            Self::Broken => None,
        }
    }
}

impl Secret {
    fn tag(&self, message: &str) -> String {
        let key = hmac::Key::new(HMAC_SHA256, self.bytes());
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()))
    }

    /// The address, in normal form, with a signature for it alone.
    pub fn sign_address(&self, target: &str, expires: i64) -> Option<String> {
        let tag = self.tag(&Signature::Exact { expires, tag: Vec::new() }.message(target)?);
        let mark = if target.contains('?') { '&' } else { '?' };
        Some(format!("{target}{mark}{EXPIRES}={expires}&{SIGNATURE}={tag}"))
    }

    /// The address, in normal form, with a signature for all that lies in the same directory as its last segment, and below.
    /// None: the name has other characters than letters, digits, `-` and `_`, or too many.
    pub fn sign_directory(&self, target: &str, name: &str, expires: i64) -> Option<String> {
        let path = target.split('?').next().unwrap_or_default();
        let depth = path.matches('/').count().checked_sub(1)?;
        let unsigned = Signature::Below { expires, depth, name: name.to_owned(), tag: Vec::new() };
        let tag = self.tag(&unsigned.message(target)?);
        is_name(name).then(|| format!("{IN_FRONT}{expires}.{depth}.{name}.{tag}{target}"))
    }
}

impl Admission {
    /// Whether a signature is for this address, in normal form and without it, and still good.
    pub fn check_signature(&self, signature: &Signature, target: &str) -> Result<(), Denied> {
        let (Signature::Exact { expires, tag } | Signature::Below { expires, tag, .. }) = signature else {
            return Err(Denied::Signature);
        };
        let message = signature.message(target).ok_or(Denied::Signature)?;
        let signed = self.config.load().keys.secrets().iter().any(|secret| {
            hmac::verify(&hmac::Key::new(HMAC_SHA256, secret.bytes()), message.as_bytes(), tag).is_ok()
        });
        match signed && self.clock.unix_millis().div_euclid(1000) < *expires {
            true => Ok(()),
            false => Err(Denied::Signature),
        }
    }
}

/// What follows [`IN_FRONT`], however that is escaped.
fn behind_mark(raw: &str) -> Option<&str> {
    if let Some(rest) = raw.strip_prefix(IN_FRONT) {
        return Some(rest);
    }
    let (first, rest) = raw.strip_prefix('/').filter(|rest| rest.starts_with(['_', '%']))?.split_once('/')?;
    let (second, rest) = rest.split_once('/')?;
    (is_written(first, "_millrace") && is_written(second, "s")).then_some(rest)
}

fn has_signature(query: &str) -> bool {
    let escaped = |pair: &str| is_written(pair.split('=').next().unwrap_or_default(), SIGNATURE);
    query.contains(SIGNATURE) || (query.contains('%') && query.split('&').any(escaped))
}

/// Whether it is this name, some letters of which may be escaped.
fn is_written(text: &str, name: &str) -> bool {
    text == name || (text.contains('%') && percent_decode_str(text).eq(name.bytes()))
}

/// The first segments of a path; more must follow.
fn above(path: &str, depth: usize) -> Option<&str> {
    let end = path.match_indices('/').nth(depth)?.0;
    path.get(..end)
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Digits alone, so that one number has one form.
fn number(text: &str) -> Option<i64> {
    let shaped = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| shaped)
}

#[cfg(test)]
mod tests {
    use millrace_kit::clock::Clock;

    use super::{
        super::{Config, Keyring},
        *,
    };

    const NOW: i64 = 1_800_000_000;

    fn scene() -> (Secret, Admission) {
        let secret = Secret::new("k3Jw0s8Zr1mVx9Qb7Tn5Yc2Ld4Hf6Gp8").unwrap();
        let older = Secret::new("an-older-secret-that-still-counts").unwrap();
        let keys = Keyring::new(vec![older, secret.clone()], Vec::new());
        (secret, Admission::new(Config { keys, ..Config::default() }, Clock::manual(NOW * 1000)))
    }

    /// Whether it lets in, as a request line.
    fn admits(door: &Admission, raw: &str) -> bool {
        let (signature, target) = Signature::take(raw);
        signature.is_some_and(|signature| door.check_signature(&signature, &target).is_ok())
    }

    #[test]
    fn an_address_is_signed_as_a_whole() {
        let (secret, door) = scene();
        for target in ["/a.jpg", "/a.jpg?w=40", "/a?b&c=d"] {
            let signed = secret.sign_address(target, NOW + 1).unwrap();
            assert!(admits(&door, &signed), "{signed}");
            assert_eq!(Signature::take(&signed).1, target);
            assert!(!admits(&door, &secret.sign_address(target, NOW).unwrap()));
            assert!(!admits(&door, &signed.replace("/a", "/b")));
            assert!(!admits(&door, &format!("{signed}&x=1")));
            assert!(!admits(&door, &format!("{signed}&mr_expires={}", NOW + 9)));
        }
    }

    #[test]
    fn a_path_is_signed_with_all_below() {
        let (secret, door) = scene();
        let signed = secret.sign_directory("/films/a.mp4/master.m3u8", "viewer-7", NOW + 1).unwrap();
        let front = signed.strip_suffix("/films/a.mp4/master.m3u8").unwrap();
        for (path, admitted) in [
            ("/films/a.mp4/master.m3u8", true),
            ("/films/a.mp4/source/seg-1.m4s", true),
            ("/films/a.mp4/poster.webp?t=1", true),
            ("/films/a.mp4", false),
            ("/films/a.mp4x/master.m3u8", false),
            ("/films/b.mp4/master.m3u8", false),
            ("/films/master.m3u8", false),
            ("/master.m3u8", false),
            ("", false),
        ] {
            assert_eq!(admits(&door, &format!("{front}{path}")), admitted, "{path}");
        }
        assert!(admits(&door, &secret.sign_directory("/x", "", NOW + 1).unwrap()), "the root");
        assert_eq!(secret.sign_directory("/x", "a.b", NOW + 1), None);
    }

    /// They would be in keys and logs, and origins would see them.
    #[test]
    fn signatures_are_known_however_their_names_are_escaped() {
        let (secret, door) = scene();
        let address = secret.sign_address("/a.jpg?w=40", NOW + 1).unwrap();
        let below = secret.sign_directory("/films/a.mp4", "seven", NOW + 1).unwrap();
        for (signed, written, escaped, target) in [
            (&address, "mr_signature", "mr%5Fsignature", "/a.jpg?w=40"),
            (&address, "mr_signature", "%6dr_sign%61ture", "/a.jpg?w=40"),
            (&address, "mr_expires", "mr%5fexpires", "/a.jpg?w=40"),
            (&below, "/_millrace/s/", "/%5Fmillrace/s/", "/films/a.mp4"),
            (&below, "/_millrace/s/", "/_mill%72ace/%73/", "/films/a.mp4"),
        ] {
            let signed = signed.replace(written, escaped);
            assert!(admits(&door, &signed), "{signed}");
            assert_eq!(Signature::take(&signed).1, target, "{signed}");
        }
        for other in
            ["/a?x=mr%5Fsignature", "/_millrace/p%73/x", "/a?mr%255Fsignature=1", "/%5Fmillrace/player"]
        {
            assert_eq!(Signature::take(other), (None, other.into()));
        }
    }

    #[test]
    fn no_mutation_of_a_thousand_is_let_in() {
        let (secret, door) = scene();
        let goods = [
            secret.sign_address("/films/a.mp4?x=1", NOW + 60).unwrap(),
            secret.sign_directory("/films/a.mp4/master.m3u8", "seven", NOW + 60).unwrap(),
        ];
        assert!(goods.iter().all(|good| admits(&door, good)));
        let alphabet = b"ABCXYZabcxyz0123456789-_.=/&?%";
        let mut random = fastrand::Rng::with_seed(9);
        let mut tried = 0;
        while tried < 1000 {
            let good = &goods[tried % 2];
            let mut bytes = good.clone().into_bytes();
            // What lies below a signed path is free to differ.
            let end = good.find("/master").unwrap_or(good.len());
            let at = random.usize(..end);
            match random.u8(..3) {
                0 => bytes[at] = alphabet[random.usize(..alphabet.len())],
                1 => bytes.insert(at, alphabet[random.usize(..alphabet.len())]),
                _ => drop(bytes.remove(at)),
            }
            let mutated = String::from_utf8(bytes).unwrap();
            if mutated != *good {
                assert!(!admits(&door, &mutated), "{mutated} of {good}");
                tried += 1;
            }
        }
    }
}
