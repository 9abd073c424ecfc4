//! Cache keys: the text that identifies a resource, and its keyed hash by which it is found.

use std::{fmt, sync::Arc};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Secret of one cache directory: keeps strangers from choosing keys that collide in the hash. Collisions are
/// harmless (a head carries its full key), only slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySeed(pub u64);

/// Identifies a resource, or one variant of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    text: Arc<str>,
    hash: u128,
}

impl Key {
    pub fn new(text: impl Into<Arc<str>>, seed: KeySeed) -> Self {
        let text = text.into();
        let hash = xxh3_128_with_seed(text.as_bytes(), seed.0);
        Self { text, hash }
    }

    /// The key of the variant that `selection` (see `VarySpec::select`) picks.
    pub fn variant(&self, selection: &str, seed: KeySeed) -> Self {
        // A line break cannot occur in a key's own text, so variants never meet resources.
        Self::new(format!("{}\n{selection}", self.text), seed)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn shared_text(&self) -> &Arc<str> {
        &self.text
    }

    pub fn hash(&self) -> u128 {
        self.hash
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_equal_keys_and_seeds_separate() {
        assert_eq!(Key::new("/a", KeySeed(1)), Key::new("/a", KeySeed(1)));
        assert_ne!(Key::new("/a", KeySeed(1)).hash(), Key::new("/b", KeySeed(1)).hash());
        assert_ne!(Key::new("/a", KeySeed(1)).hash(), Key::new("/a", KeySeed(2)).hash());
    }

    #[test]
    fn variants_differ_from_their_resource() {
        let key = Key::new("/a", KeySeed(1));
        assert_ne!(key.variant("", KeySeed(1)), key);
        assert_ne!(key.variant("accept=x\n", KeySeed(1)), key.variant("accept=y\n", KeySeed(1)));
    }
}
