//! Subtitles as WebVTT, whatever they came as: SubRip is rewritten, WebVTT is checked and told from which time it counts.

use std::fmt::Write as _;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Longer files are refused: the text of a film has a tenth of a MiB.
pub const MAX_BYTES: u64 = 4 << 20;

/// Cue times count from the start of the presentation, where media has time 0 (RFC 8216 §3.5).
const TIMESTAMP_MAP: &str = "X-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000";
const HEADER: &str = "WEBVTT";
const MAX_TAG: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSubtitles {
    #[error("the file does not begin with WEBVTT")]
    NotWebVtt,
    #[error("there is no cue in this SubRip file")]
    NoCues,
}

/// A WebVTT file as players want it: `LF` line ends, UTF-8, and its place on the time line.
pub fn from_webvtt(bytes: &[u8]) -> Result<String, BadSubtitles> {
    let text = unified(&decoded(bytes));
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let after = first.strip_prefix(HEADER).ok_or(BadSubtitles::NotWebVtt)?;
    if !after.is_empty() && !after.starts_with([' ', '\t']) {
        return Err(BadSubtitles::NotWebVtt);
    }
    // The header ends at the first empty line.
    let header = rest.split("\n\n").next().unwrap_or_default();
    if header.lines().any(|line| line.starts_with("X-TIMESTAMP-MAP")) {
        return Ok(text);
    }
    Ok(format!("{first}\n{TIMESTAMP_MAP}\n{rest}"))
}

/// A SubRip file as WebVTT. What is no cue is passed over.
pub fn from_subrip(bytes: &[u8]) -> Result<String, BadSubtitles> {
    let text = unified(&decoded(bytes));
    let mut out = String::with_capacity(text.len() + text.len() / 8 + 64);
    let _ = writeln!(out, "{HEADER}\n{TIMESTAMP_MAP}");
    let mut cues = 0;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((start, end)) = timing(line) else { continue };
        let mut shown = String::new();
        // Up to an empty line, or to the number in front of the next times where that is missing.
        while let Some(line) = lines.next_if(|line| !line.trim().is_empty() && timing(line).is_none()) {
            if is_number(line) && lines.peek().is_some_and(|next| timing(next).is_some()) {
                break;
            }
            let _ = writeln!(shown, "{}", payload(line));
        }
        if start < end && !shown.trim().is_empty() {
            cues += 1;
            let _ = write!(out, "\n{} --> {}\n{shown}", stamp(start), stamp(end));
        }
    }
    if cues == 0 { Err(BadSubtitles::NoCues) } else { Ok(out) }
}

/// As its byte order mark says; else UTF-8; else what Western European programs have written.
fn decoded(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(bytes.get(mark..).unwrap_or_default()).0;
    }
    match UTF_8.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) => text,
        None => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

/// One kind of line end, and no NUL (WebVTT §4.1).
fn unified(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', "\u{fffd}")
}

fn is_number(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())
}

/// Start and end in milliseconds, of `00:01:02,345 --> 00:01:04,000`; places on the screen may follow.
fn timing(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_once("-->")?;
    Some((millis(start.trim())?, millis(end.split_whitespace().next()?)?))
}

/// Hours may be missing, and the point may be one.
fn millis(text: &str) -> Option<u64> {
    let (clock, fraction) = text.split_once([',', '.']).unwrap_or((text, "0"));
    let number = |text: &str, digits: usize| -> Option<u64> {
        let plain = (1..=digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| plain)
    };
    let mut parts = clock.rsplit(':');
    let seconds = number(parts.next()?, 2)?;
    let minutes = number(parts.next()?, 2)?;
    let hours = parts.next().map_or(Some(0), |hours| number(hours, 4))?;
    if parts.next().is_some() || minutes > 59 || seconds > 59 {
        return None;
    }
    // "5" is 500 ms.
    let thousandths = number(fraction, 3)? * 10u64.pow(3 - fraction.len() as u32);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths)
}

fn stamp(millis: u64) -> String {
    let seconds = millis / 1000;
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, millis % 1000)
}

/// Text of a cue: bold, italic and underlined stay; fonts and places go; what else looks like markup is shown as it stands.
fn payload(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['<', '>', '&', '{']) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let closing = if found.starts_with('{') { b'}' } else { b'>' };
        // No tag is longer than that; looking no further keeps this linear.
        let near = match begins_like_a_tag(found.as_bytes()) {
            true => found.as_bytes().iter().take(MAX_TAG).position(|byte| *byte == closing),
            false => None,
        };
        let tag = near.and_then(|end| found.get(..=end));
        let skipped = match (found.as_bytes().first(), tag) {
            (Some(b'<'), Some(tag)) if is_style(tag) => {
                out.push_str(&tag.to_ascii_lowercase());
                tag.len()
            }
            (Some(b'<'), Some(tag)) if is_font(tag) => tag.len(),
            (Some(b'{'), Some(tag)) if tag.starts_with("{\\") => tag.len(),
            (Some(b'<'), _) => escaped(&mut out, "&lt;"),
            (Some(b'>'), _) => escaped(&mut out, "&gt;"),
            (Some(b'&'), _) => escaped(&mut out, "&amp;"),
            _ => escaped(&mut out, "{"),
        };
        rest = found.get(skipped..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

fn begins_like_a_tag(text: &[u8]) -> bool {
    matches!(
        text,
        [b'<', b'b' | b'B' | b'i' | b'I' | b'u' | b'U' | b'f' | b'F' | b'/', ..] | [b'{', b'\\', ..]
    )
}

/// Stands for one byte.
fn escaped(out: &mut String, with: &str) -> usize {
    out.push_str(with);
    1
}

fn is_style(tag: &str) -> bool {
    matches!(tag.to_ascii_lowercase().as_str(), "<b>" | "</b>" | "<i>" | "</i>" | "<u>" | "</u>")
}

fn is_font(tag: &str) -> bool {
    let tag = tag.to_ascii_lowercase();
    tag == "</font>" || tag.starts_with("<font ") || tag == "<font>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subrip_becomes_webvtt() {
        let subrip = "\u{feff}1\r\n00:00:01,000 --> 00:00:02,500 X1:1 X2:2\r\n<i>Hello</i> <font color=\"red\">R&D</font>\r\n\
                      a < b --> c {\\an8}{x}\r\n\r\n2\r\n0:00:03.5 --> 0:00:04,25\r\n42\r\n3\r\n01:00:05 --> 01:00:06,007\r\nno gap\r\n\r\n\
                      4\r\n00:00:09,000 --> 00:00:08,000\r\nbackwards\r\n\r\nnonsense\r\n";
        let expected = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n\
                        00:00:01.000 --> 00:00:02.500\n<i>Hello</i> R&amp;D\na &lt; b --&gt; c {x}\n\n\
                        00:00:03.500 --> 00:00:04.250\n42\n\n01:00:05.000 --> 01:00:06.007\nno gap\n";
        assert_eq!(from_subrip(subrip.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn texts_of_before_unicode() {
        let old = b"1\n00:00:01,000 --> 00:00:02,000\nCaf\xe9 \x93quoted\x94\n";
        assert!(from_subrip(old).unwrap().ends_with("Caf\u{e9} \u{201c}quoted\u{201d}\n"));
        let wide: Vec<u8> = "\u{feff}1\n00:00:01,000 --> 00:00:02,000\n\u{4f60}\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert!(from_subrip(&wide).unwrap().ends_with("\u{4f60}\n"));
    }

    #[test]
    fn webvtt_is_put_on_the_time_line() {
        let told = from_webvtt(b"WEBVTT - x\r\n\r\n00:01.000 --> 00:02.000\r\nHi\r\n").unwrap();
        assert_eq!(told, format!("WEBVTT - x\n{TIMESTAMP_MAP}\n\n00:01.000 --> 00:02.000\nHi\n"));
        let own = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n\n";
        assert_eq!(from_webvtt(own.as_bytes()).unwrap(), own);
        assert_eq!(from_webvtt(b"WEBVTT").unwrap(), format!("WEBVTT\n{TIMESTAMP_MAP}\n"));
        for bad in [&b""[..], b"WEBVTTX\n", b"1\n00:00:01,000 --> 00:00:02,000\nx\n", b"\x00\x01"] {
            assert_eq!(from_webvtt(bad), Err(BadSubtitles::NotWebVtt));
        }
    }

    #[test]
    fn hostile_files_end_soon() {
        let cases = [
            "-->".repeat(1 << 18),
            "<".repeat(1 << 19),
            "1\n00:00:01,000 --> 00:00:02,000\n".repeat(1 << 15),
            "99999999999999999999:00:00,000 --> 1\n\n".repeat(1 << 14),
            format!("00:00:01,000 --> 00:00:02,000\n{}", "<i".repeat(1 << 18)),
            format!("00:00:01,000 --> 00:00:02,000\n{}>", "<font <{\\".repeat(1 << 16)),
        ];
        for text in cases {
            let began = std::time::Instant::now();
            let length = from_subrip(text.as_bytes()).map_or(0, |out| out.len());
            assert!(length <= 8 * text.len(), "{length}");
            assert!(began.elapsed().as_secs() < 20, "{:?} for {:?}", began.elapsed(), &text[..32]);
        }
    }
}
