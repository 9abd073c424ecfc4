//! What an asset may be called: names that mean the same to every file system, shell, log and reader.

use std::{fmt, sync::Arc};

/// Segments with slashes between them, in UTF-8, not percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssetKey(Arc<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAssetKey {
    #[error(
        "a key has 1 to {MAX_KEY} bytes in at most {MAX_SEGMENTS} segments of at most {MAX_SEGMENT} bytes"
    )]
    Length,
    #[error("a key has no empty segments, so no slash at its ends either")]
    EmptySegment,
    #[error("a key has no segments `.` and `..`")]
    DotSegment,
    #[error("a key has no control characters, no backslash and none of :*?\"<>|")]
    Character,
    #[error("a key has no invisible characters, and none that look like dots or slashes")]
    LookAlike,
    #[error("segments of a key neither begin nor end with a space, nor end with a dot")]
    Edge,
    #[error("a key has no segments that are devices elsewhere, such as CON and NUL")]
    Device,
}

const MAX_KEY: usize = 1024;
const MAX_SEGMENT: usize = 255;
/// As deep as purges reach, with room for the path in front and what is made of an asset.
const MAX_SEGMENTS: usize = 24;

impl AssetKey {
    pub fn parse(text: &str) -> Result<Self, BadAssetKey> {
        if text.is_empty() || text.len() > MAX_KEY || text.split('/').count() > MAX_SEGMENTS {
            return Err(BadAssetKey::Length);
        }
        text.split('/').try_for_each(check)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the last dot of the last segment; empty for none.
    pub fn extension(&self) -> &str {
        let name = self.0.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

impl fmt::Display for AssetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(segment: &str) -> Result<(), BadAssetKey> {
    if segment.is_empty() {
        return Err(BadAssetKey::EmptySegment);
    }
    if segment.len() > MAX_SEGMENT {
        return Err(BadAssetKey::Length);
    }
    if matches!(segment, "." | "..") {
        return Err(BadAssetKey::DotSegment);
    }
    if segment.contains(|char: char| char.is_control() || "\\:*?\"<>|".contains(char)) {
        return Err(BadAssetKey::Character);
    }
    if segment.contains(is_deceptive) {
        return Err(BadAssetKey::LookAlike);
    }
    if segment.starts_with(char::is_whitespace)
        || segment.ends_with(|char: char| char == '.' || char.is_whitespace())
    {
        return Err(BadAssetKey::Edge);
    }
    let stem = segment.split('.').next().unwrap_or_default().trim_end();
    if is_device(stem) {
        return Err(BadAssetKey::Device);
    }
    Ok(())
}

/// What cannot be seen, turns text around, or may be taken for a dot or a slash.
fn is_deceptive(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}'
        | '\u{e0000}'..='\u{e0fff}' | '\u{2024}'..='\u{2026}' | '\u{2044}' | '\u{2215}' | '\u{2216}'
        | '\u{29f5}' | '\u{29f8}' | '\u{29f9}' | '\u{fe52}' | '\u{fe68}' | '\u{ff0e}' | '\u{ff0f}' | '\u{ff3c}')
}

/// Of Windows.
fn is_device(stem: &str) -> bool {
    let numbered = |name: &str| {
        stem.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && matches!(stem.get(3..), Some("0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"))
    };
    ["CON", "PRN", "AUX", "NUL"].iter().any(|name| stem.eq_ignore_ascii_case(name))
        || numbered("COM")
        || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_good() {
        for key in [
            "a",
            "a/b.jpg",
            ".profile",
            "Über/Stücke 1.mp4",
            "日本/動画.webm",
            "a..b/c~d,e;f=g@h",
            "console",
            "com10",
        ] {
            assert_eq!(AssetKey::parse(key).map(|key| key.to_string()).as_deref(), Ok(key));
        }
        assert_eq!(AssetKey::parse("a.b/c.tar.gz").unwrap().extension(), "gz");
        assert_eq!(AssetKey::parse("a.b/c").unwrap().extension(), "");
    }

    #[test]
    fn what_means_something_else_elsewhere_is_refused() {
        use BadAssetKey::*;
        let (long, deep) = ("x".repeat(256), vec!["x"; 25].join("/"));
        let longer = vec!["x".repeat(200); 11].join("/");
        for (key, wrong) in [
            ("", Length),
            (&long, Length),
            (&longer, Length),
            (&deep, Length),
            ("/a", EmptySegment),
            ("a/", EmptySegment),
            ("a//b", EmptySegment),
            ("..", DotSegment),
            ("a/../b", DotSegment),
            ("a/./b", DotSegment),
            ("a\nb", Character),
            ("a\0b", Character),
            ("a\\b", Character),
            ("C:/a", Character),
            ("a\u{85}b", Character),
            ("a\u{202e}gpj.exe", LookAlike),
            ("a\u{2215}b", LookAlike),
            ("\u{ff0e}\u{ff0e}/x", LookAlike),
            ("a\u{200b}", LookAlike),
            ("a.", Edge),
            ("a ", Edge),
            (" a", Edge),
            ("a/b /c", Edge),
            ("a\u{a0}", Edge),
            ("nul", Device),
            ("a/CON.txt", Device),
            ("com1", Device),
            ("Lpt9.x.y", Device),
        ] {
            assert_eq!(AssetKey::parse(key), Err(wrong), "{key:?}");
        }
    }
}
