//! `Upload-Metadata`: names with values in Base64.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::super::{AssetKey, Error};

/// Longer is refused.
const MAX: usize = 4096;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    text: String,
    pairs: Vec<(String, String)>,
}

impl Metadata {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::Bad(
                "Upload-Metadata is pairs of a name and Base64 of UTF-8, with commas between them".to_owned(),
            )
        };
        if text.len() > MAX {
            return Err(wrong());
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let value = STANDARD.decode(value.trim()).map_err(|_| wrong())?;
            let value = String::from_utf8(value).map_err(|_| wrong())?;
            if !name.bytes().all(|byte| byte.is_ascii_graphic())
                || pairs.iter().any(|(known, _)| known == name)
            {
                return Err(wrong());
            }
            pairs.push((name.to_owned(), value));
        }
        Ok(Self { text: text.to_owned(), pairs })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Of the asset that it will be: `key`, else `filename`.
    pub fn key(&self) -> Result<AssetKey, Error> {
        let named = self.get("key").or_else(|| self.get("filename"));
        let missing = || Error::Bad("Upload-Metadata names neither a `key` nor a `filename`".to_owned());
        Ok(AssetKey::parse(named.ok_or_else(missing)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        let metadata = Metadata::parse("filename YS5qcGc=,filetype aW1hZ2UvanBlZw==, empty,x ").unwrap();
        assert_eq!((metadata.get("filename"), metadata.get("filetype")), (Some("a.jpg"), Some("image/jpeg")));
        assert_eq!((metadata.get("empty"), metadata.key().unwrap().as_str()), (None, "a.jpg"));
        assert_eq!(Metadata::parse("filename YQ==,key Yg==").unwrap().key().unwrap().as_str(), "b");
        for text in ["filename a.jpg", "filename /w==", "a YQ==,a YQ==", "filename Li4vYQ==", "", "a YQ=="] {
            assert!(Metadata::parse(text).and_then(|metadata| metadata.key()).is_err(), "{text}");
        }
    }
}
