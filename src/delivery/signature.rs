//! Signatures of image addresses: HMAC-SHA256, as imgproxy has it. What they are worth is for the policy to say.
//!
//! Signed is, with the salt in front of it, all of an address that decides about the answer: of `/img/{signature}/…` what
//! follows the signature; of other addresses path and query, without the parameter `s` that carries the signature.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The parameter that carries a signature.
pub const SIGNATURE: &str = "s";
/// The parameter that says until when a signature is good, in seconds since 1970.
pub const EXPIRES: &str = "expires";

/// Shorter keys could be guessed.
const MIN_KEY_BYTES: usize = 16;
const MAX_KEYS: usize = 16;

/// The first signs, all verify. Never shown.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<Hmac<Sha256>>,
    /// Bytes of a signature; the rest is cut off.
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    #[error("must be pairs of key and salt in hexadecimal digits, such as 7f3a…:09bc…")]
    Form,
    #[error("a key must have at least {MIN_KEY_BYTES} bytes")]
    Short,
    #[error("at most {MAX_KEYS} keys are possible")]
    Many,
}

/// Bytes of an HMAC-SHA256.
pub const MAX_LENGTH: usize = 32;

impl Keys {
    /// From `key:salt` pairs between commas, spaces or lines; a salt may be missing. None: there are none.
    pub fn parse(text: &str, length: usize) -> Result<Option<Self>, BadKeys> {
        let pairs = text.split([',', ' ', '\n', '\r', '\t']).filter(|pair| !pair.is_empty());
        let keys = pairs.map(Self::key).collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Ok(None),
            1..=MAX_KEYS => Ok(Some(Self { keys, length: length.clamp(1, MAX_LENGTH) })),
            _ => Err(BadKeys::Many),
        }
    }

    fn key(pair: &str) -> Result<Hmac<Sha256>, BadKeys> {
        let (key, salt) = pair.split_once(':').unwrap_or((pair, ""));
        let [key, salt] = [key, salt]
            .map(|digits| HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| BadKeys::Form));
        let (key, salt) = (key?, salt?);
        if key.len() < MIN_KEY_BYTES {
            return Err(BadKeys::Short);
        }
        let mut keyed = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| BadKeys::Form)?;
        keyed.update(&salt);
        Ok(keyed)
    }

    /// The signature of a text, in base64url without padding.
    pub fn sign(&self, text: &str) -> String {
        let Some(key) = self.keys.first() else { return String::new() };
        let mut whole = key.clone();
        whole.update(text.as_bytes());
        BASE64URL_NOPAD.encode(&whole.finalize().into_bytes()[..self.length])
    }

    /// Whether one of the keys has signed this text. Takes as long for all signatures of the right length.
    pub fn verify(&self, text: &str, signature: &str) -> bool {
        // Another spelling of the same bytes, as base64 has them, is not accepted either.
        let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else { return false };
        signature.len() == self.length
            && self.keys.iter().any(|key| {
                let mut whole = key.clone();
                whole.update(text.as_bytes());
                whole.verify_truncated_left(&signature).is_ok()
            })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

/// Path and query in normal form, with a signature that is good until `expires`, in seconds since 1970.
pub fn signed(keys: &Keys, target: &str, expires: Option<u64>) -> String {
    if let Some((signature, rest)) = target.strip_prefix("/img/").and_then(|rest| rest.split_once('/'))
        && !signature.is_empty()
    {
        let until = expires.map(|seconds| format!("/exp:{seconds}")).unwrap_or_default();
        let text = format!("{until}/{rest}");
        return format!("/img/{}{text}", keys.sign(&text));
    }
    let mut text = target.to_owned();
    let mut add = |name: &str, value: &str| {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    };
    if let Some(seconds) = expires {
        add(EXPIRES, &seconds.to_string());
    }
    let signature = keys.sign(&text);
    let joint = if text.contains('?') { '&' } else { '?' };
    format!("{text}{joint}{SIGNATURE}={signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of imgproxy's documentation.
    const KEY: &str = "943b421c9eb07c830af81030552c86009268de4e532ba2ee2eab8247c6da0881";
    const SALT: &str = "520f986b998545b4785e0defbc4f3c1203f22de2374a3d53cb7a7fe9fea309c5";

    fn keys(text: &str) -> Keys {
        Keys::parse(text, MAX_LENGTH).unwrap().unwrap()
    }

    #[test]
    fn signatures_are_those_of_imgproxy() {
        let keys = keys(&format!("{KEY}:{SALT}"));
        // Made by the packages `@imgproxy/imgproxy-node` and `imgproxy` for JavaScript.
        for (text, signature) in [
            ("/f:webp/h:400/rt:fill/w:300/plain/d/a.jpg", "YN9kn3sccXmMzhEl_SR31VMzwPjYn3T6BXBAgWX7RW8"),
            ("/f:webp/h:400/rt:fill/w:300/ZC9hLmpwZw", "swvl_IRogcNf7ty3YcVnTnVuHxBHHO6Axd_4gatKYF4"),
            ("/rs:fill:300:400:0/plain/d/a.jpg@webp", "hHQqDoFdTLpVYrTdRoDjNYoSq2JDvcRZShu99Dv9rHA"),
        ] {
            assert_eq!(keys.sign(text), signature);
            assert!(keys.verify(text, signature), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_accepted() {
        let keys = keys(&format!("{KEY}:{SALT}"));
        let text = "/rs:fill:300:400:0/plain/d/a.jpg@webp";
        let good = keys.sign(text);
        for bad in [
            "",
            "unsafe",
            "insecure",
            "_",
            &good[..42],
            &good[1..],
            &format!("{good}A"),
            &format!("{good}="),
            &good.to_ascii_lowercase(),
            &good.to_ascii_uppercase(),
            &good.replace('h', "i"),
            // Bits that stand for nothing.
            &format!("{}B", &good[..42]),
        ] {
            assert!(!keys.verify(text, bad), "{bad}");
        }
        for other in ["/rs:fill:300:401:0/plain/d/a.jpg@webp", "/rs:fill:300:400:0/plain/d/b.jpg@webp", ""] {
            assert!(!keys.verify(other, &good), "{other}");
        }
    }

    #[test]
    fn keys_rotate_and_signatures_may_be_short() {
        let (old, new) = ("00".repeat(16), "ff".repeat(32));
        let both = keys(&format!("{new}:01,{old}:02"));
        let [before, after] = [keys(&format!("{old}:02")), keys(&format!("{new}:01\n"))];
        assert!(both.verify("/a", &before.sign("/a")) && both.verify("/a", &after.sign("/a")));
        assert_eq!(both.sign("/a"), after.sign("/a"));
        assert!(!after.verify("/a", &before.sign("/a")));
        let short = Keys::parse(&new, 8).unwrap().unwrap();
        assert_eq!(short.sign("/a").len(), 11);
        assert!(short.verify("/a", &short.sign("/a")) && !short.verify("/a", &after.sign("/a")));
        assert_eq!(format!("{both:?}"), "Keys(2)");
    }

    #[test]
    fn bad_keys_are_refused() {
        for (text, error) in [
            ("xyz", BadKeys::Form),
            ("abc", BadKeys::Form),
            ("00ff", BadKeys::Short),
            (&format!("{KEY}:1"), BadKeys::Form),
            (&vec![KEY; 17].join(" "), BadKeys::Many),
        ] {
            assert_eq!(Keys::parse(text, 32).unwrap_err(), error, "{text}");
        }
        assert!(Keys::parse(" \n", 32).unwrap().is_none());
    }

    #[test]
    fn addresses_are_signed_where_they_are_looked_at() {
        let keys = keys(KEY);
        for (target, expires, text) in [
            ("/a.jpg?w=9", None, "/a.jpg?w=9"),
            ("/a.jpg?w=9", Some(7), "/a.jpg?w=9&expires=7"),
            ("/cdn-cgi/image/w=9/a.jpg", Some(7), "/cdn-cgi/image/w=9/a.jpg?expires=7"),
            ("/cdn-cgi/image/w=9/a.jpg", None, "/cdn-cgi/image/w=9/a.jpg"),
        ] {
            let signed = signed(&keys, target, expires);
            let joint = if text.contains('?') { '&' } else { '?' };
            assert_eq!(signed, format!("{text}{joint}s={}", keys.sign(text)));
        }
        let text = "/exp:7/w:9/plain/a.jpg";
        assert_eq!(
            signed(&keys, "/img/_/w:9/plain/a.jpg", Some(7)),
            format!("/img/{}{text}", keys.sign(text))
        );
    }
}
