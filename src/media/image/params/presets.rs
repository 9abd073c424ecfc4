//! Operations that have a name: what an operator has written down once, and clients ask for by `preset`.

use std::{borrow::Cow, collections::BTreeMap};

use super::{ParamError, Params, values::refused};

pub(super) const PRESET: &str = "preset";

/// The pairs of a query, decoded.
pub(super) type Pairs = Vec<(Cow<'static, str>, Cow<'static, str>)>;

/// Names in one request.
const MAX_NAMES: usize = 8;

/// Known names and what they stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presets(BTreeMap<Box<str>, Pairs>);

/// A preset that is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPreset {
    #[error("a preset's name has letters, digits, `-` and `_`")]
    Name,
    #[error(transparent)]
    Params(#[from] ParamError),
    #[error("has no image parameter")]
    Nothing,
    #[error("cannot name other presets")]
    Nested,
    #[error("`{0}` is not an image parameter")]
    Unknown(String),
}

impl Presets {
    /// `query` is written as in addresses: `w=320&h=240&fit=crop`.
    pub fn add(&mut self, name: &str, query: &str) -> Result<(), BadPreset> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(BadPreset::Name);
        }
        let pairs: Pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().map(owned).collect();
        if pairs.iter().any(|(name, _)| name == PRESET) {
            return Err(BadPreset::Nested);
        }
        if let Some((other, _)) = pairs.iter().find(|(name, _)| !super::is_image_parameter(name)) {
            return Err(BadPreset::Unknown(other.clone().into_owned()));
        }
        Params::parse(&pairs)?.ok_or(BadPreset::Nothing)?;
        self.0.insert(name.into(), pairs);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    /// What a name stands for.
    pub fn get(&self, name: &str) -> Option<Params> {
        Params::parse(self.0.get(name)?).ok()?
    }

    /// With what presets stand for in their place. Of several the later counts, and what stands beside them counts more.
    fn expanded(&self, pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<Pairs, ParamError> {
        let names =
            || pairs.iter().filter(|(name, _)| name == PRESET).flat_map(|(_, names)| names.split(','));
        if names().count() > MAX_NAMES {
            return Err(ParamError { parameter: PRESET, problem: format!("names more than {MAX_NAMES}") });
        }
        let mut all = Pairs::new();
        for name in names() {
            let known = self.0.get(name).ok_or_else(|| refused(PRESET, "must be a known name", name))?;
            all.retain(|(name, _)| known.iter().all(|(other, _)| other != name));
            all.extend(known.iter().cloned());
        }
        all.retain(|(name, _)| pairs.iter().all(|(own, _)| own != name));
        let own = pairs.iter().filter(|(name, _)| name != PRESET);
        all.extend(own.map(|(name, value)| owned((name.clone().into_owned(), value.clone().into_owned()))));
        Ok(all)
    }
}

fn owned((name, value): (String, String)) -> (Cow<'static, str>, Cow<'static, str>) {
    (name.into(), value.into())
}

impl Params {
    /// Like [`Self::parse`], with presets by name.
    pub fn read(
        query: &[(Cow<'_, str>, Cow<'_, str>)],
        presets: &Presets,
    ) -> Result<Option<Self>, ParamError> {
        match query.iter().any(|(name, _)| name == PRESET) {
            true => Self::parse(&presets.expanded(query)?),
            false => Self::parse(query),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presets() -> Presets {
        let mut presets = Presets::default();
        presets.add("thumb", "w=320&h=240&fit=crop").unwrap();
        presets.add("soft", "q=50&blur=20").unwrap();
        presets
    }

    fn canonical(query: &str) -> Result<String, String> {
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        let params = Params::read(&pairs, &presets()).map_err(|error| error.to_string())?;
        Ok(params.unwrap().canonical())
    }

    #[test]
    fn names_stand_for_what_is_written_down() {
        for (query, same) in [
            ("preset=thumb", "w=320&h=240&fit=crop"),
            ("preset=thumb&q=70", "w=320&h=240&fit=crop&q=70"),
            ("q=70&preset=soft", "q=70&blur=20"),
            ("preset=thumb,soft", "w=320&h=240&fit=crop&q=50&blur=20"),
            ("preset=thumb&preset=soft&w=10", "w=10&h=240&fit=crop&q=50&blur=20"),
        ] {
            assert_eq!(canonical(query), canonical(same), "{query}");
        }
        assert_eq!(presets().get("thumb").unwrap().width(), Some(320));
        for (query, word) in
            [("preset=other", "`other`"), ("preset=", "known"), ("preset=thumb&w=1&w=2", "`w`")]
        {
            let error = canonical(query).unwrap_err();
            assert!(error.contains(word), "{query}: {error}");
        }
        assert!(canonical(&format!("preset={}", ["thumb"; 9].join(","))).is_err());
    }

    #[test]
    fn bad_presets_are_refused() {
        for (name, query, error) in [
            ("a b", "w=1", BadPreset::Name),
            ("", "w=1", BadPreset::Name),
            ("a", "", BadPreset::Nothing),
            ("a", "preset=thumb", BadPreset::Nested),
            ("a", "w=1&x=2", BadPreset::Unknown("x".to_owned())),
        ] {
            assert_eq!(presets().add(name, query), Err(error), "{name} {query}");
        }
        assert!(matches!(presets().add("a", "w=0"), Err(BadPreset::Params(_))));
    }
}
