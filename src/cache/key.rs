//! Cache keys: the text that identifies a resource, and its keyed hash by which it is found.

use std::{fmt, sync::Arc};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::Variants;

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
    pub fn variant(&self, variants: &Variants, selection: &str, seed: KeySeed) -> Self {
        // A line break cannot occur in a key's own text, so variants never meet resources.
        Self::new(format!("{}\n{:x}\n{selection}", self.text, variants.stamp), seed)
    }

    /// The resource, the stamp of its variants, and what stands behind it: a selection, and perhaps what is made of that
    /// variant. None: no key of a variant.
    pub(super) fn parts(text: &str) -> Option<(&str, u64, &str)> {
        let (resource, variant) = text.split_once('\n')?;
        let (stamp, rest) = variant.split_once('\n')?;
        Some((resource, u64::from_str_radix(stamp, 16).ok()?, rest))
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// For logs: a query may carry a signature.
    pub fn path(&self) -> &str {
        self.text.split(['?', '\n']).next().unwrap_or_default()
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
    use crate::cache::vary::VarySpec;

    #[test]
    fn equal_texts_are_equal_keys_and_seeds_separate() {
        assert_eq!(Key::new("/a", KeySeed(1)), Key::new("/a", KeySeed(1)));
        assert_ne!(Key::new("/a", KeySeed(1)).hash(), Key::new("/b", KeySeed(1)).hash());
        assert_ne!(Key::new("/a", KeySeed(1)).hash(), Key::new("/a", KeySeed(2)).hash());
    }

    #[test]
    fn variants_differ_from_their_resource() {
        let seed = KeySeed(1);
        let key = Key::new("/a", seed);
        let [before, after] =
            [1, 2].map(|stamp| Variants { stamp, ..Variants::new(&key, VarySpec::default()) });
        let variant = |variants, selection| key.variant(variants, selection, seed);
        assert_ne!(variant(&before, ""), key);
        assert_ne!(variant(&before, "accept=x\n"), variant(&before, "accept=y\n"));
        assert_ne!(variant(&before, "accept=x\n"), variant(&after, "accept=x\n"));
        let text = variant(&after, "accept=x\n");
        assert_eq!(Key::parts(text.text()), Some(("/a", 2, "accept=x\n")));
        assert_eq!(Key::parts("/a"), None);
    }
}
