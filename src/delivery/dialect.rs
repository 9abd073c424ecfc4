//! In which way a target asks for something that is made of a source, and of which source. What it asks for in particular
//! is not read here.

use std::borrow::Cow;

use data_encoding::BASE64URL_NOPAD;
use percent_encoding::{AsciiSet, CONTROLS};

use super::{
    handout::Handout,
    request::{BadTarget, Target},
    signature::{EXPIRES, SIGNATURE},
};
use crate::media::{image::is_image_parameter, video::Asset};

/// A target taken apart.
#[derive(Debug)]
pub struct Located<'t> {
    pub way: Way<'t>,
    /// With the whole query.
    pub source: Target,
}

#[derive(Debug)]
pub enum Way<'t> {
    AsItIs,
    /// `/{path}.jpg?w=…`
    Query,
    /// `/cdn-cgi/image/{options}/{path}`
    CdnCgi {
        options: &'t str,
    },
    /// `/img/{signature}/{options}/plain/{path}[@{extension}]`, or the source's path in base64.
    Imgproxy {
        signature: &'t str,
        /// What follows the signature, from the slash on.
        signed: &'t str,
        options: &'t str,
        extension: Option<&'t str>,
        /// The request's own, which no signature covers.
        query: Option<&'t str>,
    },
    Video(Asset),
}

const IMAGE_EXTENSIONS: [&str; 11] =
    ["jpg", "jpeg", "png", "webp", "gif", "avif", "heic", "bmp", "tif", "tiff", "svg"];

impl<'t> Located<'t> {
    /// Fails when the source's path, as an option has it, is none.
    pub fn of(target: &'t Target) -> Result<Self, BadTarget> {
        if let Some((source, asset)) = Asset::locate(target.path()) {
            let source = Target::of_path(source).with_query(target.query().unwrap_or(""));
            return Ok(Self { way: Way::Video(asset), source });
        }
        if let Some(rest) = target.path().strip_prefix("/cdn-cgi/image/")
            && let Some((options, path)) = rest.split_once('/')
        {
            let source = Target::of_path(&format!("/{path}")).with_query(target.query().unwrap_or(""));
            return Ok(Self { way: Way::CdnCgi { options }, source });
        }
        if let Some(found) = Self::of_imgproxy(target) {
            return found;
        }
        let way = if asks_for_image(target) { Way::Query } else { Way::AsItIs };
        Ok(Self { way, source: target.clone() })
    }

    fn of_imgproxy(target: &'t Target) -> Option<Result<Self, BadTarget>> {
        let after = target.path().strip_prefix("/img/")?;
        let (signature, rest) = after.split_once('/')?;
        let signed = &after[signature.len()..];
        let (options, path, extension) = match (rest.strip_prefix("plain/"), rest.split_once("/plain/")) {
            (Some(plain), _) => with_options("", plain_source(plain)),
            (None, Some((options, plain))) => with_options(options, plain_source(plain)),
            (None, None) => encoded_source(rest)?,
        };
        let way = Way::Imgproxy { signature, signed, options, extension, query: target.query() };
        Some(Target::parse(&path).map(|source| Self { way, source }))
    }

    /// Whether an image is to be made, and not the one that there is anyway for each video.
    pub fn makes_image(&self) -> bool {
        match &self.way {
            Way::AsItIs => false,
            Way::Query | Way::CdnCgi { .. } | Way::Imgproxy { .. } => true,
            Way::Video(Asset::Poster) => {
                self.names().any(|name| name == "t" || name == SIGNATURE || is_image_parameter(name))
            }
            Way::Video(Asset::Waveform(_)) => {
                self.names().any(|name| name == "w" || name == "h" || name == SIGNATURE)
            }
            Way::Video(_) => false,
        }
    }

    /// Whether some origins know the source under a plainer path, too.
    pub fn is_ambiguous(&self) -> bool {
        let path = self.source.path();
        path.contains("//") || path.contains("%2F")
    }

    /// What is signed of this target, and the signature that it carries.
    pub fn signature(&self, target: &'t Target) -> Option<(Cow<'t, str>, &'t str)> {
        if let Way::Imgproxy { signature, signed, .. } = self.way {
            return Some((signed.into(), signature));
        }
        let mut signatures = pairs(target.query()?).filter(|(name, _)| *name == SIGNATURE);
        let (Some((_, Some(signature))), None) = (signatures.next(), signatures.next()) else { return None };
        let query = target.query().map(|query| without(query, |name| name == SIGNATURE));
        let source = target.with_query(&query.unwrap_or_default());
        Some((source.to_string().into(), signature))
    }

    /// Until when the address is good, if it says so; inside: in seconds since 1970, if that can be read. Parameters of a
    /// query are ours only where they are signed.
    pub fn expires(&self, signed: bool) -> Option<Option<u64>> {
        let seconds = match self.way {
            Way::Imgproxy { options, .. } => options.split('/').rev().find_map(|option| {
                let (name, seconds) = option.split_once(':')?;
                matches!(name, "exp" | "expires").then_some(seconds)
            })?,
            _ if signed => {
                let mut named = pairs(self.source.query()?).filter(|(name, _)| *name == EXPIRES);
                let first = named.next()?.1.unwrap_or_default();
                if named.next().is_some() {
                    return Some(None);
                }
                first
            }
            _ => return None,
        };
        // An empty option is imgproxy's way to take an earlier one back.
        let digits = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
        Some(seconds.parse().ok().filter(|_| digits))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.source.query().into_iter().flat_map(pairs).map(|(name, _)| name)
    }

    /// What is asked of the origins: without what is for us.
    pub fn asked_of_origin(&self, signed: bool) -> Target {
        let guards = |name: &str| signed && matches!(name, SIGNATURE | EXPIRES);
        let ours = |name: &str| guards(name) || Handout::is_ours(&self.source, name);
        let query = self.source.query().unwrap_or_default();
        match self.way {
            Way::AsItIs if Handout::may_be_asked_of(&self.source) => {
                self.source.with_query(&without(query, |name| Handout::is_ours(&self.source, name)))
            }
            Way::AsItIs => self.source.clone(),
            Way::Query => {
                self.source.with_query(&without(query, |name| is_image_parameter(name) || ours(name)))
            }
            Way::CdnCgi { .. } => self.source.with_query(&without(query, ours)),
            Way::Imgproxy { query: Some(request), .. } if query.is_empty() && !signed => {
                self.source.with_query(request)
            }
            Way::Imgproxy { .. } => self.source.clone(),
            Way::Video(_) => self.source.with_query(""),
        }
    }
}

type Source<'t> = (String, Option<&'t str>);

fn with_options<'t>(options: &'t str, (path, extension): Source<'t>) -> (&'t str, String, Option<&'t str>) {
    (options, path, extension)
}

/// `{path}[@{extension}]`, with what has a meaning in addresses escaped, as a rule.
fn plain_source(plain: &str) -> Source<'_> {
    let (path, extension) = match plain.rsplit_once('@') {
        Some((path, extension)) if !extension.contains('/') => (path, Some(extension)),
        _ => (plain, None),
    };
    (rooted(&unescaped(path)), extension)
}

/// `{options}/{base64}[.{extension}]`. Without an option it is no more than a path that looks like it.
fn encoded_source(rest: &str) -> Option<(&str, String, Option<&str>)> {
    let mut end = 0;
    for segment in rest.split_inclusive('/') {
        if !segment.contains(':') {
            break;
        }
        end += segment.len();
    }
    let options = rest[..end].strip_suffix('/')?;
    let encoded = &rest[end..];
    let (encoded, extension) = match encoded.split_once('.') {
        Some((encoded, extension)) => (encoded, Some(extension)),
        None => (encoded, None),
    };
    let encoded = encoded.replace('/', "");
    let source = BASE64URL_NOPAD.decode(encoded.trim_end_matches('=').as_bytes()).ok()?;
    let escaped = percent_encoding::percent_encode(&source, OUTSIDE).to_string();
    (!source.is_empty()).then(|| (options, rooted(&escaped), extension))
}

/// What stands in no address as it is.
const OUTSIDE: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'\\').add(b'"').add(b'<').add(b'>');

/// imgproxy has names of kinds of sources in front of paths; here there is one kind.
fn rooted(path: &str) -> String {
    let path = path.strip_prefix("local://").unwrap_or(path);
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// With printable ASCII that was escaped as it is. What comes of it has to be parsed again.
fn unescaped(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_graphic() && !b"#\\\"<>^`{|}".contains(&byte) => {
                plain.push(char::from(byte));
                rest = &after[2..];
            }
            _ => {
                plain.push('%');
                rest = after;
            }
        }
    }
    plain + rest
}

fn asks_for_image(target: &Target) -> bool {
    let known = |extension: &str| IMAGE_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known));
    target
        .query()
        .filter(|_| target.extension().is_some_and(known))
        .is_some_and(|query| pairs(query).any(|(name, _)| is_image_parameter(name)))
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value))))
}

fn without(query: &str, dropped: impl Fn(&str) -> bool) -> String {
    let keep = |pair: &&str| !dropped(pair.split('=').next().unwrap_or(""));
    query.split('&').filter(keep).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(target: &str, signed: bool) -> String {
        let target = Target::parse(target).unwrap();
        match Located::of(&target) {
            Ok(located) => located.asked_of_origin(signed).to_string(),
            Err(bad) => format!("{bad:?}"),
        }
    }

    #[test]
    fn imgproxy_sources_are_found_in_both_forms() {
        for (target, expected) in [
            ("/img/_/w:9/plain/d/a.jpg", "/d/a.jpg"),
            ("/img/_/w:9/plain/local:///d/a.jpg@webp", "/d/a.jpg"),
            ("/img/_/w:9/plain//d/%C3%A9~.jpg", "/d/%C3%A9~.jpg"),
            ("/img/_/w:9/plain/d%2Fa%20b%402x.jpg%3Fv=1@png", "/d/a%20b@2x.jpg?v=1"),
            ("/img/_/w:9/plain/a%2525.jpg", "/a%25.jpg"),
            ("/img/_/f:webp/w:300/ZC9hLmpwZw", "/d/a.jpg"),
            ("/img/_/w:300/ZC9h/LmpwZw.png", "/d/a.jpg"),
            ("/img/_/w:300/bG9jYWw6Ly8vZC9hIGJAMnguanBnP3Y9MSZ4PSUyMA", "/d/a%20b@2x.jpg?v=1&x=%20"),
            ("/img/_/w:300/L2Qvw6l-LmpwZw", "/d/%C3%A9~.jpg"),
            // Files of the origin's.
            ("/img/_/ZC9hLmpwZw", "/img/_/ZC9hLmpwZw"),
            ("/img/_/w:300/a$b.jpg", "/img/_/w:300/a$b.jpg"),
            ("/img/_/w:300/", "/img/_/w:300/"),
            // What would leave the root.
            ("/img/_/w:9/plain/%252e%252e%252fetc", "DotSegment"),
            ("/img/_/w:9/Ly4uL2V0Yw", "DotSegment"),
            ("/img/_/w:9/plain/a%25zz", "BadEncoding"),
        ] {
            assert_eq!(source(target, false), expected, "{target}");
        }
        assert_eq!(source("/img/_/w:9/plain/a.jpg?v=1", false), "/a.jpg?v=1");
        assert_eq!(source("/img/_/w:9/plain/a.jpg?v=1", true), "/a.jpg", "no signature covers it");
    }

    #[test]
    fn parameters_of_signatures_are_ours_where_they_count() {
        for (target, open, signed) in [
            ("/a.jpg?w=9&s=x&v=1&expires=2", "/a.jpg?s=x&v=1&expires=2", "/a.jpg?v=1"),
            ("/a.jpg?s=96", "/a.jpg?s=96", "/a.jpg?s=96"),
            ("/cdn-cgi/image/w=9/a.jpg?s=x&v", "/a.jpg?s=x&v", "/a.jpg?v"),
            ("/v.mp4/poster.webp?t=1&s=x", "/v.mp4", "/v.mp4"),
        ] {
            assert_eq!((source(target, false), source(target, true)), (open.to_owned(), signed.to_owned()));
        }
    }

    #[test]
    fn all_but_the_signature_is_signed() {
        for (target, expected) in [
            ("/a.jpg?w=9&s=x&v=1", Some(("/a.jpg?w=9&v=1", "x"))),
            ("/a.jpg?s=x&w=9", Some(("/a.jpg?w=9", "x"))),
            ("/cdn-cgi/image/w=9/a.jpg?s=x", Some(("/cdn-cgi/image/w=9/a.jpg", "x"))),
            ("/img/x/w:9/plain/a.jpg@png?v=1", Some(("/w:9/plain/a.jpg@png", "x"))),
            ("/a.jpg?w=9&s=x&s=y", None),
            ("/a.jpg?w=9&s", None),
            ("/a.jpg?w=9", None),
        ] {
            let target = Target::parse(target).unwrap();
            let located = Located::of(&target).unwrap();
            let found = located.signature(&target);
            assert_eq!(found.as_ref().map(|(text, signature)| (&**text, *signature)), expected, "{target}");
        }
    }

    #[test]
    fn ends_are_found_where_they_are_signed() {
        for (target, signed, expected) in [
            ("/a.jpg?w=9&expires=7", true, Some(Some(7))),
            ("/a.jpg?w=9&expires=7", false, None),
            ("/a.jpg?w=9&expires=7&expires=9", true, Some(None)),
            ("/a.jpg?w=9&expires=-7", true, Some(None)),
            ("/a.jpg?w=9&expires", true, Some(None)),
            ("/a.jpg?w=9", true, None),
            ("/img/_/exp:5/w:9/exp:7/plain/a.jpg", false, Some(Some(7))),
            ("/img/_/expires:x/plain/a.jpg", true, Some(None)),
            ("/img/_/w:7/plain/a.jpg", true, None),
        ] {
            let target = Target::parse(target).unwrap();
            assert_eq!(Located::of(&target).unwrap().expires(signed), expected, "{target}");
        }
    }
}
