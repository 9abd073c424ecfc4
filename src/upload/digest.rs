//! What a client says of the bytes it sends: `Content-Digest` and `Repr-Digest` (RFC 9530), and the older `Digest` (RFC 3230).

use aws_lc_rs::digest::{Context, SHA512};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderMap;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::Error;

/// Digests that must be met. Of algorithms that nobody knows, nothing is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digests {
    sha256: Vec<Vec<u8>>,
    sha512: Vec<Vec<u8>>,
}

/// Sees all bytes, where that is needed.
pub struct Checker {
    digests: Digests,
    sha512: Option<Context>,
}

impl Digests {
    pub fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let mut digests = Self::default();
        for field in ["content-digest", "repr-digest"] {
            let lines = joined(headers, field)?;
            if lines.is_empty() {
                continue;
            }
            let wrong = || Error::Bad(format!("{field} is not such as sha-256=:BASE64:"));
            let said: Dictionary = Parser::new(&lines).parse().map_err(|_| wrong())?;
            for (name, entry) in said {
                let ListEntry::Item(item) = entry else { return Err(wrong()) };
                let BareItem::ByteSequence(bytes) = item.bare_item else { return Err(wrong()) };
                digests.add(name.as_str(), bytes, field)?;
            }
        }
        for part in joined(headers, "digest")?.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || Error::Bad("digest is not such as SHA-256=BASE64".to_owned());
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let name = name.to_ascii_lowercase();
            if matches!(&*name, "sha-256" | "sha-512") {
                digests.add(&name, STANDARD.decode(value).map_err(|_| wrong())?, "digest")?;
            }
        }
        Ok(digests)
    }

    fn add(&mut self, name: &str, bytes: Vec<u8>, field: &str) -> Result<(), Error> {
        let (known, length) = match name {
            "sha-256" => (&mut self.sha256, 32),
            "sha-512" => (&mut self.sha512, 64),
            _ => return Ok(()),
        };
        if bytes.len() != length {
            return Err(Error::Bad(format!("{field}: a {name} digest has {length} bytes")));
        }
        known.push(bytes);
        Ok(())
    }
}

fn joined(headers: &HeaderMap, field: &str) -> Result<String, Error> {
    let lines = headers.get_all(field).iter().map(|line| line.to_str());
    let lines: Result<Vec<_>, _> = lines.collect();
    Ok(lines.map_err(|_| Error::Bad(format!("{field} is not ASCII")))?.join(", "))
}

impl Checker {
    pub fn new(digests: Digests) -> Self {
        let sha512 = (!digests.sha512.is_empty()).then(|| Context::new(&SHA512));
        Self { digests, sha512 }
    }

    pub fn see(&mut self, bytes: &[u8]) {
        if let Some(context) = &mut self.sha512 {
            context.update(bytes);
        }
    }

    /// Whether all was as said; the SHA-256 is known already.
    pub fn meets(self, sha256: &[u8]) -> bool {
        let sha512 = self.sha512.map(Context::finish);
        let sha512_met =
            sha512.is_none_or(|found| self.digests.sha512.iter().all(|said| said == found.as_ref()));
        sha512_met && self.digests.sha256.iter().all(|said| said == sha256)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn digests(fields: &[(&'static str, String)]) -> Result<Digests, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
        }
        Digests::of(&headers)
    }

    #[test]
    fn every_digest_has_to_be_met() {
        let (right, wrong) = (digest(&SHA256, b"abc"), digest(&SHA256, b"abd"));
        let long = STANDARD.encode(digest(&SHA512, b"abc"));
        let (right, wrong) = (STANDARD.encode(right), STANDARD.encode(wrong));
        for (fields, met) in [
            (vec![], true),
            (vec![("content-digest", format!("sha-256=:{right}:"))], true),
            (vec![("content-digest", format!("sha-256=:{right}:, sha-512=:{long}:"))], true),
            (vec![("repr-digest", format!("sha-256=:{wrong}:"))], false),
            (
                vec![
                    ("content-digest", format!("sha-256=:{right}:")),
                    ("repr-digest", format!("sha-256=:{wrong}:")),
                ],
                false,
            ),
            (vec![("digest", format!("SHA-256={right}"))], true),
            (vec![("digest", format!("md5=x,sha-256={wrong}"))], false),
            (vec![("digest", format!("SHA-512={long}"))], true),
            (vec![("content-digest", "unixsum=:AAAA:".to_owned())], true),
        ] {
            let mut checker = Checker::new(digests(&fields).unwrap());
            checker.see(b"a");
            checker.see(b"bc");
            let met_now = checker.meets(digest(&SHA256, b"abc").as_ref());
            assert_eq!(met_now, met, "{fields:?}");
        }
        let mut checker = Checker::new(digests(&[("content-digest", format!("sha-512=:{long}:"))]).unwrap());
        checker.see(b"abd");
        assert!(!checker.meets(&[]));
    }

    #[test]
    fn digests_that_are_none_are_refused() {
        for (field, value) in [
            ("content-digest", "sha-256=abc"),
            ("content-digest", "sha-256=:AAAA:"),
            ("content-digest", "sha-256=:%%:"),
            ("content-digest", "sha-256"),
            ("repr-digest", "(a b)"),
            ("digest", "sha-256"),
            ("digest", "sha-256=AAAA"),
        ] {
            assert!(digests(&[(field, value.to_owned())]).is_err(), "{field}: {value}");
        }
    }
}
