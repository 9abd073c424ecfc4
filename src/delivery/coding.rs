//! Content negotiation by `Accept-Encoding` (RFC 9110 §12.5.3): which stored objects are also kept in a content coding,
//! and which form a request gets. Ranges refer to the object as it came from the origin, so whoever asks for one gets
//! that form.

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use xxhash_rust::xxh3::xxh3_64;

use super::request::Asked;
use crate::{
    cache::{
        FieldLines, Head, Key, KeySeed,
        control::{no_transform, split_list},
        validator::EntityTag,
        vary::qvalue,
    },
    media::coding::Coding,
};

/// What is kept in a content coding too.
#[derive(Debug, Clone)]
pub struct Rules {
    pub enabled: bool,
    pub min_length: u64,
    pub max_length: u64,
    /// Media types in lower case without parameters; `text/*` stands for all of a kind, `*+json` for all with a suffix.
    pub types: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// There is only one form of this object.
    Only,
    /// As it is, though there are others.
    Identity,
    Coded(Coding),
}

impl Rules {
    /// The form of an object of this length that a request is to get.
    pub fn form(&self, request: &Asked<'_, impl FieldLines>, head: &Head, length: u64) -> Form {
        if !self.has_forms(head, length) {
            return Form::Only;
        }
        let in_parts = request.method == Method::GET && request.fields.has("range");
        match accepted(request.fields).filter(|_| !in_parts) {
            Some(coding) => Form::Coded(coding),
            None => Form::Identity,
        }
    }

    fn has_forms(&self, head: &Head, length: u64) -> bool {
        self.enabled
            && (self.min_length..=self.max_length).contains(&length)
            && head.status == StatusCode::OK
            && head.fields.first("content-type").is_some_and(|value| self.covers(value))
            && head.fields.first("content-encoding").is_none()
            && !no_transform(&head.fields)
    }

    fn covers(&self, content_type: &[u8]) -> bool {
        let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
        let essence = content_type[..end].trim_ascii();
        self.types.iter().any(|known| match known.as_bytes() {
            [kind @ .., b'*'] => {
                essence.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
            }
            [b'*', suffix @ ..] => {
                let start = essence.len().checked_sub(suffix.len());
                start.is_some_and(|start| essence[start..].eq_ignore_ascii_case(suffix))
            }
            exact => essence.eq_ignore_ascii_case(exact),
        })
    }
}

impl Form {
    /// `Vary` of an object that has several forms, when its own does not say it.
    pub fn vary(self, head: &Head) -> Option<(HeaderName, HeaderValue)> {
        (self != Self::Only).then(|| vary(head)).flatten().map(|value| (header::VARY, value))
    }
}

/// Where this version of an object is kept in a coding. A space cannot occur in a target, and the text of a variant's key ends its
/// line.
pub fn key(source: &Key, head: &Head, coding: Coding, seed: KeySeed) -> Key {
    Key::new(format!("{} coding:{}:{:x}", source.text(), coding.as_str(), version(head)), seed)
}

/// Tells versions of an object apart: by its entity tag, or a date that is as good; else each answer counts as another.
pub fn version(head: &Head) -> u64 {
    let tag = head.fields.first("etag").and_then(EntityTag::parse).map(|tag| tag.opaque);
    match tag.or_else(|| head.strong()) {
        Some(validator) => xxh3_64(validator),
        None => xxh3_64(&head.request_time.to_le_bytes()),
    }
}

fn vary(head: &Head) -> Option<HeaderValue> {
    let named = || {
        let lines = head.fields.lines("vary").filter_map(|line| std::str::from_utf8(line).ok());
        lines.flat_map(split_list)
    };
    if named().any(|name| name.eq_ignore_ascii_case("accept-encoding")) {
        return None;
    }
    if named().next().is_none() {
        return Some(HeaderValue::from_static("Accept-Encoding"));
    }
    let names: Vec<_> = named().chain(["Accept-Encoding"]).collect();
    HeaderValue::try_from(names.join(", ")).ok()
}

/// The coding that the client likes best, if it likes one at least as well as none.
fn accepted(fields: &impl FieldLines) -> Option<Coding> {
    let mut codings = [None; Coding::ALL.len()];
    let (mut others, mut identity) = (None, None);
    for member in fields.lines("accept-encoding").filter_map(|line| std::str::from_utf8(line).ok()) {
        for member in split_list(member) {
            let (name, weight) = match member.split_once(';') {
                None => (member, Some(1000)),
                Some((name, parameter)) => (name.trim_matches([' ', '\t']), weight(parameter)),
            };
            let known = Coding::ALL.iter().position(|coding| name.eq_ignore_ascii_case(coding.as_str()));
            match known {
                Some(index) => codings[index] = weight,
                None if name == "*" => others = weight,
                None if name.eq_ignore_ascii_case("identity") => identity = weight,
                None => {}
            }
        }
    }
    let liked = |(coding, weight): (Coding, Option<u16>)| Some((coding, weight.or(others)?));
    let all = Coding::ALL.into_iter().zip(codings).filter_map(liked);
    // The first of equals.
    let (coding, weight) = all.rev().max_by_key(|(_, weight)| *weight)?;
    (weight > 0 && weight >= identity.unwrap_or(0)).then_some(coding)
}

fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let [name, value] = [name, value].map(|part| part.trim_matches([' ', '\t']));
    qvalue(value).filter(|_| name.eq_ignore_ascii_case("q"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::{super::request::Target, *};
    use crate::cache::Content;

    fn rules() -> Rules {
        let types = ["text/*", "*+json", "application/javascript"];
        let types = types.map(str::to_owned).to_vec();
        Rules { enabled: true, min_length: 100, max_length: 1000, types }
    }

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (header::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    fn form(
        request: &[(&'static str, &'static str)],
        stored: &[(&'static str, &'static str)],
        length: u64,
    ) -> Form {
        let head =
            Head::new("/a", StatusCode::OK, &map(stored), (0, 0), length, Content::Inline(Bytes::new()));
        let (target, fields) = (Target::of_path("/a"), map(request));
        let asked = Asked { method: &Method::GET, target: &target, fields: &fields };
        rules().form(&asked, &head, length)
    }

    #[test]
    fn only_text_of_some_length_has_forms() {
        let asked = [("accept-encoding", "gzip")];
        let coded = Form::Coded(Coding::Gzip);
        for (content_type, expected) in [
            ("text/css", coded),
            ("Text/HTML; charset=utf-8", coded),
            ("application/ld+json", coded),
            ("application/JavaScript", coded),
            ("application/javascript2", Form::Only),
            ("image/png", Form::Only),
            ("text", Form::Only),
            ("+jso", Form::Only),
        ] {
            assert_eq!(form(&asked, &[("content-type", content_type)], 500), expected, "{content_type}");
        }
        for (length, expected) in [(99, Form::Only), (100, coded), (1000, coded), (1001, Form::Only)] {
            assert_eq!(form(&asked, &[("content-type", "text/css")], length), expected, "{length}");
        }
        for other in [("content-encoding", "br"), ("cache-control", "max-age=1, No-Transform")] {
            assert_eq!(form(&asked, &[("content-type", "text/css"), other], 500), Form::Only, "{other:?}");
        }
        assert_eq!(form(&asked, &[], 500), Form::Only);
    }

    #[test]
    fn the_client_chooses_and_we_choose_among_equals() {
        let cases: &[(&[(&'static str, &'static str)], Form)] = &[
            (&[], Form::Identity),
            (&[("accept-encoding", "")], Form::Identity),
            (&[("accept-encoding", "deflate, compress")], Form::Identity),
            (&[("accept-encoding", "gzip, deflate, br, zstd")], Form::Coded(Coding::Brotli)),
            (&[("accept-encoding", "GZIP;q=1.0, zstd; q=0.9")], Form::Coded(Coding::Gzip)),
            (&[("accept-encoding", "gzip"), ("accept-encoding", "zstd")], Form::Coded(Coding::Zstd)),
            (&[("accept-encoding", "*")], Form::Coded(Coding::Brotli)),
            (&[("accept-encoding", "br;q=0, *;q=0.5")], Form::Coded(Coding::Zstd)),
            (&[("accept-encoding", "br;q=0")], Form::Identity),
            (&[("accept-encoding", "*;q=0")], Form::Identity),
            (&[("accept-encoding", "gzip;q=0.5, identity")], Form::Identity),
            (&[("accept-encoding", "gzip;q=0.5, identity;q=0.5")], Form::Coded(Coding::Gzip)),
            (&[("accept-encoding", "gzip;q=junk")], Form::Identity),
            (&[("accept-encoding", "br"), ("range", "bytes=0-9")], Form::Identity),
        ];
        for (request, expected) in cases {
            assert_eq!(form(request, &[("content-type", "text/css")], 500), *expected, "{request:?}");
        }
    }

    #[test]
    fn vary_names_the_choice_once() {
        let told = |lines: &[(&'static str, &'static str)]| {
            let content = Content::Inline(Bytes::new());
            vary(&Head::new("/a", StatusCode::OK, &map(lines), (0, 0), 0, content))
        };
        assert_eq!(told(&[]).unwrap(), "Accept-Encoding");
        assert_eq!(told(&[("vary", "Foo"), ("vary", "bar, Baz")]).unwrap(), "Foo, bar, Baz, Accept-Encoding");
        assert_eq!(told(&[("vary", "accept-encoding, Foo")]), None);
    }
}
