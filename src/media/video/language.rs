//! Names of languages as subtitles have them (RFC 5646): `en`, `pt-BR`, `zh-Hant`.

use std::fmt;

/// Long enough for language, script and region.
const MAX_BYTES: usize = 12;

/// A language tag in the one spelling that is taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language {
    bytes: [u8; MAX_BYTES],
    len: u8,
}

/// What players call them.
const NAMES: [(&str, &str); 24] = [
    ("ar", "العربية"),
    ("cs", "Čeština"),
    ("da", "Dansk"),
    ("de", "Deutsch"),
    ("el", "Ελληνικά"),
    ("en", "English"),
    ("es", "Español"),
    ("fi", "Suomi"),
    ("fr", "Français"),
    ("he", "עברית"),
    ("hi", "हिन्दी"),
    ("hu", "Magyar"),
    ("it", "Italiano"),
    ("ja", "日本語"),
    ("ko", "한국어"),
    ("nl", "Nederlands"),
    ("no", "Norsk"),
    ("pl", "Polski"),
    ("pt", "Português"),
    ("ru", "Русский"),
    ("sv", "Svenska"),
    ("tr", "Türkçe"),
    ("uk", "Українська"),
    ("zh", "中文"),
];

impl Language {
    /// Two or three small letters, then perhaps a script and a region: as RFC 5646 §2.1.1 recommends to write them.
    pub fn parse(tag: &str) -> Option<Self> {
        let mut parts = tag.split('-');
        let primary = parts.next()?;
        let small = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase());
        let mut good = matches!(primary.len(), 2 | 3) && small(primary);
        for part in parts {
            good &= match part.len() {
                2 => part.bytes().all(|byte| byte.is_ascii_uppercase()),
                3 => part.bytes().all(|byte| byte.is_ascii_digit()),
                4 => {
                    part.starts_with(|first: char| first.is_ascii_uppercase())
                        && part.get(1..).is_some_and(small)
                }
                _ => false,
            };
        }
        let mut bytes = [0; MAX_BYTES];
        bytes.get_mut(..tag.len()).filter(|_| good)?.copy_from_slice(tag.as_bytes());
        // At most MAX_BYTES.
        Some(Self { bytes, len: tag.len() as u8 })
    }

    pub fn as_str(&self) -> &str {
        // Made of a text.
        self.bytes
            .get(..usize::from(self.len))
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    /// In the language itself, as far as it is known here.
    pub fn name(&self) -> String {
        let (primary, rest) = self.as_str().split_once('-').unwrap_or((self.as_str(), ""));
        match NAMES.iter().find(|(tag, _)| *tag == primary) {
            Some((_, name)) if rest.is_empty() => (*name).to_owned(),
            Some((_, name)) => format!("{name} ({rest})"),
            None => self.as_str().to_owned(),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        for tag in ["en", "fil", "pt-BR", "es-419", "zh-Hant", "zh-Hant-TW"] {
            assert_eq!(Language::parse(tag).unwrap().to_string(), tag);
        }
        for bad in
            ["", "e", "EN", "en-us", "en-", "-en", "engl", "en-US-x-private", "zh-Hant-TW-x", "e/", "é"]
        {
            assert!(Language::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(Language::parse("pt-BR").unwrap().name(), "Português (BR)");
        assert_eq!(Language::parse("tlh").unwrap().name(), "tlh");
    }
}
