//! How a file is handed out, as its address says: a stretch of a video (`?start=&end=`), as a download (`?download`, `?dl=name`).
//! None of it is in keys, and no origin sees it.

use std::borrow::Cow;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::form_urlencoded;

use super::request::Target;
use crate::media::video::Span;

/// Files of which a stretch can be had.
const CLIPPED: [&str; 4] = ["mp4", "m4v", "mov", "m4a"];
/// Files of which an origin hardly knows another meaning of `download`.
const DOWNLOADED: [&str; 24] = [
    "mp4", "m4v", "mov", "m4a", "webm", "mkv", "mp3", "wav", "flac", "ogg", "oga", "opus", "aac", "jpg",
    "jpeg", "png", "webp", "gif", "avif", "heic", "bmp", "tif", "tiff", "svg",
];

/// Longer names are cut off.
const MAX_NAME: usize = 200;
/// Clips further into a video than this are none.
const MAX_SECONDS: f64 = 1_000_000.0;

/// A `Content-Disposition` with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`start` and `end` must be seconds from 0 to 1000000, such as 12.5, and `end` the greater")]
pub struct BadSpan;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handout {
    pub clip: Option<Span>,
    pub download: Option<Download>,
}

impl Handout {
    /// Of the target of a request; `source` is what it is about.
    pub fn of(target: &Target, source: &Target) -> Result<Self, BadSpan> {
        let Some(query) = target.query() else { return Ok(Self::default()) };
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let value = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let mut handout = Self::default();
        if is_one_of(source, &CLIPPED) && target.path() == source.path() {
            let (start, end) = (value("start"), value("end"));
            let seconds =
                |text: Option<&Cow<'_, str>>| text.map(|text| millis(text).ok_or(BadSpan)).transpose();
            let (start_millis, end_millis) = (seconds(start)?, seconds(end)?);
            if start_millis.is_some() || end_millis.is_some() {
                let span = Span { start_millis: start_millis.unwrap_or(0), end_millis };
                if span.end_millis.is_some_and(|end| end <= span.start_millis) {
                    return Err(BadSpan);
                }
                handout.clip = Some(span);
            }
        }
        if is_one_of(source, &DOWNLOADED) && (value("download").is_some() || value("dl").is_some()) {
            let own =
                || source.path().rsplit('/').next().map(|name| percent_decode_str(name).decode_utf8_lossy());
            let name = value("dl").filter(|name| !name.is_empty()).cloned().or_else(own).unwrap_or_default();
            handout.download = Some(Download { name: cleaned(&name) });
        }
        Ok(handout)
    }

    /// Whether a parameter of the address of this source is one of these.
    pub fn is_ours(source: &Target, name: &str) -> bool {
        match name {
            "start" | "end" => is_one_of(source, &CLIPPED),
            "download" | "dl" => is_one_of(source, &DOWNLOADED),
            _ => false,
        }
    }

    /// Whether a source has such parameters at all.
    pub fn may_be_asked_of(target: &Target) -> bool {
        target.query().is_some() && is_one_of(target, &DOWNLOADED)
    }
}

impl Download {
    /// The name twice: plain, and for those who know RFC 8187 as it is.
    pub fn disposition(&self) -> Option<HeaderValue> {
        /// `attr-char` of RFC 8187 §3.2.1.
        const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
            .remove(b'!')
            .remove(b'#')
            .remove(b'$')
            .remove(b'&')
            .remove(b'+')
            .remove(b'-')
            .remove(b'.')
            .remove(b'^')
            .remove(b'_')
            .remove(b'`')
            .remove(b'|')
            .remove(b'~');
        let plain: String =
            self.name.chars().map(|letter| if letter.is_ascii() { letter } else { '_' }).collect();
        let text = match plain == self.name {
            true => format!("attachment; filename=\"{plain}\""),
            false => {
                let escaped = utf8_percent_encode(&self.name, ESCAPED);
                format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{escaped}")
            }
        };
        HeaderValue::try_from(text).ok()
    }
}

fn is_one_of(target: &Target, extensions: &[&str]) -> bool {
    let known = |extension: &str| extensions.iter().any(|known| extension.eq_ignore_ascii_case(known));
    target.extension().is_some_and(known)
}

/// No folders, nothing that ends the name early or reads differently from how it is written (bidirectional controls).
fn cleaned(name: &str) -> String {
    let bad = |letter: char| {
        letter.is_control()
            || matches!(letter, '/' | '\\' | '"' | ':' | '*' | '?' | '<' | '>' | '|' | '%')
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let name: String = name.chars().map(|letter| if bad(letter) { '_' } else { letter }).collect();
    let mut name = name.trim_matches(['.', ' ']).to_owned();
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    if name.is_empty() { "download".to_owned() } else { name }
}

/// Seconds as thousandths.
pub fn millis(seconds: &str) -> Option<u64> {
    let digits = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let seconds: f64 = seconds.parse().ok().filter(|_| seconds.bytes().all(digits))?;
    // In range, so the conversion is exact enough and cannot wrap.
    (0.0..=MAX_SECONDS).contains(&seconds).then(|| (seconds * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handout(target: &str) -> Result<Handout, BadSpan> {
        let target = Target::parse(target).unwrap();
        let source = target.with_query("");
        Handout::of(&target, &source)
    }

    fn disposition(target: &str) -> Option<String> {
        let value = handout(target).unwrap().download?.disposition().unwrap();
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn names_of_downloads() {
        for (target, expected) in [
            ("/f/a%20b.mp4?download", "attachment; filename=\"a b.mp4\""),
            ("/a.mp4?dl=", "attachment; filename=\"a.mp4\""),
            (
                "/a.jpg?w=9&dl=Caf%C3%A9.jpg",
                "attachment; filename=\"Caf_.jpg\"; filename*=UTF-8''Caf%C3%A9.jpg",
            ),
            ("/a.mp4?dl=..%2F..%2Fetc%22%3B%20x=%22", "attachment; filename=\"_.._etc_; x=_\""),
            ("/a.mp4?dl=...", "attachment; filename=\"download\""),
            ("/a.mp4?dl=a%E2%80%AE4pm.exe", "attachment; filename=\"a_4pm.exe\""),
        ] {
            assert_eq!(disposition(target).as_deref(), Some(expected), "{target}");
        }
        assert!(disposition(&format!("/a.mp4?dl={}", "%C3%A9".repeat(300))).unwrap().len() < 1000);
        for target in ["/a.mp4", "/report.pdf?download", "/a.mp4?downloads", "/download.mp4?x=download"] {
            assert_eq!(disposition(target), None, "{target}");
        }
    }

    #[test]
    fn spans_of_clips() {
        let span = |start_millis, end_millis| Some(Span { start_millis, end_millis });
        for (target, expected) in [
            ("/a.mp4?start=1.5&end=3", span(1500, Some(3000))),
            ("/a.mov?end=3.0004", span(0, Some(3000))),
            ("/a.M4V?start=2", span(2000, None)),
            ("/a.jpg?start=2", None),
            ("/a?start=2", None),
        ] {
            assert_eq!(handout(target).unwrap().clip, expected, "{target}");
        }
        for bad in
            ["start=-1", "start=x", "end=0", "start=3&end=3", "start=nan", "start=", "end=1e9", "end=1000001"]
        {
            assert_eq!(handout(&format!("/a.mp4?{bad}")), Err(BadSpan), "{bad}");
        }
    }
}
