//! What an asset is, by its first bytes; and whether that is what it was said to be, and may be stored.

use infer::MatcherType;

/// What is allowed beyond what is harmless.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// HTML and programs: stored, and sent to be saved rather than shown.
    pub risky: bool,
}

/// The type under which it will be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sniffed {
    pub media_type: String,
    pub attachment: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// By its first bytes.
    Known(&'static str),
    Html,
    Svg,
    Program(&'static str),
    Text,
    Unknown,
}

/// `head`: the first bytes; `declared`: of the request, if it says something; `extension`: of the key.
pub fn judge(head: &[u8], declared: Option<&str>, extension: &str, rules: Rules) -> Result<Sniffed, String> {
    let nature = nature(head);
    let named = named(extension);
    let media_type = match nature {
        Nature::Known(kind) => kind.to_owned(),
        Nature::Html => "text/html; charset=utf-8".to_owned(),
        Nature::Svg => "image/svg+xml".to_owned(),
        Nature::Program(kind) => kind.to_owned(),
        Nature::Text => text(named),
        Nature::Unknown => "application/octet-stream".to_owned(),
    };
    let risky =
        matches!(nature, Nature::Html | Nature::Program(_)) || essence(&media_type).ends_with("javascript");
    if risky && !rules.risky {
        return Err(format!("content of the type {} is not taken", essence(&media_type)));
    }
    for (who, said) in [("the request", declared), ("its name", named)] {
        if let Some(said) = said.map(essence)
            && !fits(&said, &media_type, nature, who == "its name")
        {
            return Err(format!("{who} says {said}, but the content is {}", essence(&media_type)));
        }
    }
    let attachment = risky || nature == Nature::Svg || is_xml(&essence(&media_type));
    Ok(Sniffed { media_type, attachment })
}

/// The same before there is any content, where none could be fitting.
pub fn foresee(declared: Option<&str>, extension: &str, rules: Rules) -> Result<(), String> {
    let named = named(extension).map(essence);
    if let Some(named) = named.as_ref().filter(|named| !rules.risky && named.ends_with("javascript")) {
        return Err(format!("content of the type {named} is not taken"));
    }
    let class = |kind: &str| kind.split('/').next().unwrap_or_default().to_owned();
    let is_media = |kind: &str| matches!(&*class(kind), "image" | "video" | "audio");
    let declared = declared.map(essence).filter(|declared| is_media(declared));
    let (Some(declared), Some(named)) = (declared, named) else { return Ok(()) };
    let is_drawing = |kind: &str| kind == "image/svg+xml";
    let agree = match is_media(&named) {
        _ if is_drawing(&declared) || is_drawing(&named) => true,
        true => (class(&declared) == "image") == (class(&named) == "image"),
        false => !is_textual(&named) && class(&named) != "text",
    };
    match agree {
        true => Ok(()),
        false => Err(format!("the request says {declared}, and its name says {named}")),
    }
}

/// What the library calls programs, leaving out those that it tells by two bytes which noise has too. ELF is told above.
const PROGRAMS: [&str; 5] = [
    "application/vnd.microsoft.portable-executable",
    "application/x-mach-binary",
    "application/java",
    "application/vnd.android.dex",
    "application/vnd.android.dey",
];

fn nature(head: &[u8]) -> Nature {
    let trimmed = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |start: &str| {
        trimmed.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start.as_bytes()))
    };
    if trimmed.starts_with(b"#!") {
        return Nature::Program("text/x-shellscript");
    }
    // However short: the library wants whole headers.
    if head.starts_with(b"\x7fELF") {
        return Nature::Program("application/x-executable");
    }
    let tags = [
        "<!doctype html",
        "<html",
        "<head",
        "<body",
        "<script",
        "<iframe",
        "<title",
        "<style",
        "<table",
        "<h1",
        "<div",
        "<a ",
        "<br",
        "<p>",
        "<img",
    ];
    if tags.iter().any(|tag| begins(tag)) {
        return Nature::Html;
    }
    if begins("<svg")
        || begins("<!doctype svg")
        || (begins("<?xml") || begins("<!--")) && contains(trimmed, b"<svg")
    {
        return Nature::Svg;
    }
    if (begins("<?xml") || begins("<!--")) && (contains(trimmed, b"<html") || contains(trimmed, b"<script")) {
        return Nature::Html;
    }
    if head.len() > 188 && head[0] == 0x47 && head[188] == 0x47 {
        return Nature::Known("video/mp2t");
    }
    match infer::get(head) {
        Some(kind) if matches!(kind.mime_type(), "text/html" | "text/xml") => Nature::Text,
        Some(kind) if kind.matcher_type() == MatcherType::App => match kind.mime_type() {
            program if PROGRAMS.contains(&program) => Nature::Program(program),
            "application/wasm" => Nature::Known("application/wasm"),
            // Not worth refusing noise for.
            _ => Nature::Unknown,
        },
        Some(kind) => Nature::Known(kind.mime_type()),
        None if is_text(head) => Nature::Text,
        None => Nature::Unknown,
    }
}

/// Within the part that is looked at.
fn contains(head: &[u8], wanted: &[u8]) -> bool {
    head.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}

/// UTF-8 without control characters; the head may end within a character.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    valid && !head.iter().any(|byte| *byte < b' ' && !matches!(*byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b))
}

/// What a name says, where the library is not dated (playlists are no sound) and does not guess (`.ts` is two things).
fn named(extension: &str) -> Option<&'static str> {
    match &*extension.to_ascii_lowercase() {
        "" | "ts" => None,
        "vtt" => Some("text/vtt"),
        "m3u8" => Some("application/vnd.apple.mpegurl"),
        "mpd" => Some("application/dash+xml"),
        other => mime_guess::from_ext(other).first_raw(),
    }
}

/// Text is what its name says, if that is a kind of text.
fn text(named: Option<&str>) -> String {
    match named {
        Some(kind) if kind.starts_with("text/") && kind != "text/html" => format!("{kind}; charset=utf-8"),
        Some(kind) if is_textual(kind) => kind.to_owned(),
        _ => "text/plain; charset=utf-8".to_owned(),
    }
}

/// Shown as a page by browsers, with whatever scripts stand in it under whatever prefix.
fn is_xml(kind: &str) -> bool {
    kind.ends_with("/xml") || kind.ends_with("+xml") || kind == "text/xsl"
}

fn is_textual(kind: &str) -> bool {
    kind.ends_with("+json")
        || kind.ends_with("+xml") && kind != "image/svg+xml" && kind != "application/xhtml+xml"
        || matches!(
            kind,
            "application/json"
                | "application/xml"
                | "application/javascript"
                | "application/vnd.apple.mpegurl"
        )
}

/// Whether what is said of the content may be true of it.
fn fits(said: &str, media_type: &str, nature: Nature, by_name: bool) -> bool {
    let found = essence(media_type);
    let class = |kind: &str| kind.split('/').next().unwrap_or_default().to_owned();
    // Says nothing; the second is what `curl --data` claims.
    if matches!(said, "application/octet-stream" | "application/x-www-form-urlencoded") || *said == found {
        return true;
    }
    let is_media = |kind: &str| matches!(&*class(kind), "image" | "video" | "audio");
    match nature {
        // Containers hold sound, pictures or both, under names old and new.
        Nature::Known(_) if is_media(&found) => {
            let (one, other) = (class(said), class(&found));
            let sound = one != "image" && other != "image" && is_media(said);
            match by_name {
                // `.jpg` of a PNG is a slip; it is served as what it is.
                true => one == other || sound || !is_media(said) && !is_textual(said) && one != "text",
                false => one == other && is_alias(said, &found) || sound && is_alias(said, &found),
            }
        }
        Nature::Known(_) | Nature::Program(_) | Nature::Unknown => {
            !is_media(said) && class(said) == "application"
        }
        Nature::Svg => matches!(said, "text/xml" | "application/xml" | "text/plain"),
        Nature::Html => {
            matches!(said, "application/xhtml+xml" | "text/plain" | "application/xml" | "text/xml")
        }
        Nature::Text => {
            class(said) == "text"
                || class(said) == "application"
                || is_textual(said)
                || by_name && !is_media(said)
        }
    }
}

/// Different names of one thing, or containers so alike that the first bytes do not tell them apart.
fn is_alias(said: &str, found: &str) -> bool {
    const ALIKE: [&[&str]; 8] = [
        &["image/jpeg", "image/jpg", "image/pjpeg"],
        &["image/heif", "image/heic", "image/avif"],
        &["image/x-icon", "image/vnd.microsoft.icon"],
        &[
            "video/mp4",
            "audio/mp4",
            "audio/m4a",
            "audio/x-m4a",
            "video/x-m4v",
            "video/quicktime",
            "video/3gpp",
            "audio/aac",
        ],
        &["video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska"],
        &["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"],
        &["audio/mpeg", "audio/mp3"],
        &["audio/ogg", "video/ogg", "audio/opus"],
    ];
    ALIKE.iter().any(|names| names.contains(&said) && names.contains(&found))
}

fn essence(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is foreseen would be found out, whatever the content; and of what some content would be fitting for, nothing is.
    #[test]
    fn nothing_is_foreseen_that_would_not_be_found_out() {
        let contents: [&[u8]; 7] = [
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41",
            b"RIFF\x24\0\0\0WAVEfmt ",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"<!doctype html>",
            b"plain text",
            b"\0\x01\x02\x03",
        ];
        let said = [
            None,
            Some("image/png"),
            Some("video/mp4"),
            Some("audio/wav"),
            Some("image/svg+xml"),
            Some("text/plain"),
        ];
        for declared in said {
            for extension in
                ["", "png", "mp4", "m4a", "wav", "svg", "html", "txt", "js", "json", "bin", "vtt"]
            {
                for rules in [Rules { risky: false }, Rules { risky: true }] {
                    let fits = contents.iter().any(|head| judge(head, declared, extension, rules).is_ok());
                    let foreseen = foresee(declared, extension, rules).is_err();
                    assert!(!(fits && foreseen), "{declared:?} .{extension} {rules:?}");
                }
            }
        }
        assert!(foresee(Some("image/png"), "html", Rules::default()).is_err());
        assert!(foresee(Some("image/png"), "mp4", Rules::default()).is_err());
        assert!(
            foresee(None, "js", Rules::default()).is_err()
                && foresee(None, "js", Rules { risky: true }).is_ok()
        );
    }

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0";
    const MP4: &[u8] = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41";
    const ELF: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    const EXE: &[u8] = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0";
    const ZIP: &[u8] = b"PK\x03\x04\x14\0\0\0\x08\0";

    #[test]
    fn the_content_decides() {
        for (head, declared, extension, found) in [
            (PNG, None, "", Some("image/png")),
            (PNG, Some("image/png"), "png", Some("image/png")),
            (PNG, None, "jpg", Some("image/png")),
            (JPEG, Some("image/jpg"), "jpeg", Some("image/jpeg")),
            (MP4, Some("video/mp4"), "mp4", Some("video/mp4")),
            (MP4, Some("audio/x-m4a"), "m4a", Some("video/mp4")),
            (MP4, Some("application/octet-stream"), "mov", Some("video/mp4")),
            (b"{\"a\":1}", Some("application/json"), "json", Some("application/json")),
            (b"WEBVTT\n", None, "vtt", Some("text/vtt; charset=utf-8")),
            (b"#EXTM3U\n", None, "m3u8", Some("application/vnd.apple.mpegurl")),
            (b"hello", Some("text/plain; charset=utf-8"), "", Some("text/plain; charset=utf-8")),
            (b"hello", Some("application/x-www-form-urlencoded"), "txt", Some("text/plain; charset=utf-8")),
            (b"\x01\x02\x03", None, "bin", Some("application/octet-stream")),
            (b"\x4c\x01\x02\x03", None, "bin", Some("application/octet-stream")),
            (ZIP, Some("application/zip"), "zip", Some("application/zip")),
            (b"", None, "", Some("text/plain; charset=utf-8")),
            // Lies and forbidden fruit.
            (PNG, Some("image/jpeg"), "", None),
            (PNG, Some("text/html"), "", None),
            (PNG, Some("video/mp4"), "", None),
            (ZIP, Some("image/png"), "", None),
            (ZIP, None, "png", None),
            (b"\x01\x02\x03", Some("video/mp4"), "", None),
            (b"hello", None, "jpg", None),
            (b"hello", Some("image/png"), "", None),
            (ELF, None, "", None),
            (EXE, Some("image/png"), "png", None),
            (EXE, None, "bin", None),
            (b"#!/bin/sh\n", None, "txt", None),
            (b"  <!DOCTYPE html><p>", None, "", None),
            (b"<script>alert(1)</script>", None, "txt", None),
            (b"\xef\xbb\xbf<HTML>", None, "jpg", None),
            (b"<?xml version='1.0'?><html xmlns='x'>", None, "xml", None),
            (b"alert(1)", None, "js", None),
        ] {
            let judged = judge(head, declared, extension, Rules::default());
            let shown = String::from_utf8_lossy(head);
            assert_eq!(
                judged.ok().map(|sniffed| sniffed.media_type).as_deref(),
                found,
                "{shown} {declared:?} {extension}"
            );
        }
    }

    #[test]
    fn risky_types_are_to_be_saved() {
        let judged = |head: &[u8], extension| judge(head, None, extension, Rules { risky: true }).unwrap();
        let html = Sniffed { media_type: "text/html; charset=utf-8".to_owned(), attachment: true };
        assert_eq!(judged(b"<html>", "html"), html);
        assert!(
            judged(EXE, "exe").attachment && judged(ELF, "").attachment && judged(b"a()", "js").attachment
        );
        let svg = Sniffed { media_type: "image/svg+xml".to_owned(), attachment: true };
        assert_eq!(judge(b"<svg onload='x'>", None, "svg", Rules::default()), Ok(svg));
        let disguised =
            b"<x:html xmlns:x='http://www.w3.org/1999/xhtml'><x:script>alert(1)</x:script></x:html>";
        for extension in ["xml", "XML", "xsl", "xslt", "rdf", "atom", "rss", "mpd"] {
            let sniffed = judge(disguised, None, extension, Rules::default());
            assert!(sniffed.as_ref().is_ok_and(|sniffed| sniffed.attachment), "{extension} {sniffed:?}");
        }
        assert!(!judged(b"<x:html>", "txt").attachment);
        assert!(!judged(PNG, "png").attachment);
    }
}
