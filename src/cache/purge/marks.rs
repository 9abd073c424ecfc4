//! What purges name things by: hashes of URLs, path prefixes and tags, of which a purge leaves stamps.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::cache::FieldLines;

/// Hash of one name; of different kinds they never mean the same. Two names that collide are purged together, which
/// costs a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Mark(pub(super) u64);

/// Segments of a prefix. Longer paths are matched by their first so many, and as a whole.
pub const MAX_DEPTH: usize = 32;
/// Bytes of a tag.
pub const MAX_TAG: usize = 1024;
/// Tags of one object. One that says it has more, or longer ones, dies with any tag.
const MAX_TAGS: usize = 256;
/// As a tag of an object: dies with any tag.
pub const ANY_TAG: &str = "*";

impl Mark {
    pub fn url(text: &str) -> Self {
        Self(xxh3_64_with_seed(text.as_bytes(), 1))
    }

    /// `path` does not end with the slash that makes it a prefix.
    pub fn prefix(path: &str) -> Self {
        Self(xxh3_64_with_seed(path.as_bytes(), 2))
    }

    /// Without regard to case: too much purged costs a fill, too little a stale answer.
    pub fn tag(tag: &[u8]) -> Self {
        Self(xxh3_64_with_seed(&tag.to_ascii_lowercase(), 3))
    }
}

/// The tags of an object, from `Surrogate-Key` (space separated) and `Cache-Tag` (comma separated).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(Option<Box<Tagged>>);

/// What few objects have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tagged {
    marks: Box<[Mark]>,
    /// Concerned by any tag.
    any: bool,
}

/// What a purge may name an object by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    Url(&'a str),
    /// Without the slash at its end.
    Prefix(&'a str),
    Tag(&'a [u8]),
}

impl Name<'_> {
    pub(super) fn mark(self) -> Mark {
        match self {
            Self::Url(text) => Mark::url(text),
            Self::Prefix(path) => Mark::prefix(path),
            Self::Tag(tag) => Mark::tag(tag),
        }
    }
}

/// The tags as they stand in the fields.
pub(super) fn tags_of(fields: &impl FieldLines) -> impl Iterator<Item = &[u8]> {
    let keys = fields.lines("surrogate-key").flat_map(|line| line.split(u8::is_ascii_whitespace));
    let tags = fields.lines("cache-tag").flat_map(|line| line.split(|byte| *byte == b','));
    keys.chain(tags.map(<[u8]>::trim_ascii)).filter(|tag| !tag.is_empty())
}

impl Tags {
    pub fn of(fields: &impl FieldLines) -> Self {
        let (mut marks, mut any) = (Vec::new(), false);
        for tag in tags_of(fields) {
            if tag == ANY_TAG.as_bytes() || tag.len() > MAX_TAG || marks.len() == MAX_TAGS {
                any = true;
                continue;
            }
            marks.push(Mark::tag(tag));
        }
        let tagged = any || !marks.is_empty();
        Self(tagged.then(|| Box::new(Tagged { marks: marks.into(), any })))
    }

    /// Of something that is not known yet.
    pub fn unknown() -> Self {
        Self(Some(Box::new(Tagged { marks: Box::default(), any: true })))
    }

    pub(super) fn marks(&self) -> &[Mark] {
        self.0.as_ref().map_or(&[], |tagged| &tagged.marks)
    }

    pub(super) fn any(&self) -> bool {
        self.0.as_ref().is_some_and(|tagged| tagged.any)
    }

    /// Bytes in memory.
    pub fn weight(&self) -> usize {
        self.0.as_ref().map_or(0, |tagged| size_of::<Tagged>() + size_of_val(&*tagged.marks))
    }
}

/// The marks of the URLs and prefixes that what is stored under this key belongs to.
pub(super) fn of_key(key: &str) -> impl Iterator<Item = Mark> {
    names_of(key).map(Name::mark)
}

/// The URLs and prefixes that what is stored under this key belongs to. Behind a line break stands what makes a variant,
/// behind a space what is made of the source; before the first slash may stand whose paths they are.
pub(super) fn names_of(key: &str) -> impl Iterator<Item = Name<'_>> {
    let own = key.split('\n').next().unwrap_or_default();
    let source = own.split(' ').next().unwrap_or_default();
    let path = source.split('?').next().unwrap_or_default();
    let derived = (own.len() > source.len()).then_some(Name::Url(own));
    let slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
    let parents = slashes.take(MAX_DEPTH + 1).map(|(at, _)| Name::Prefix(&path[..at]));
    [Name::Url(source), Name::Prefix(path)].into_iter().chain(derived).chain(parents)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn tags(lines: &[(&'static str, &str)]) -> Tags {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Tags::of(&map)
    }

    #[test]
    fn tags_come_from_both_fields() {
        let both = tags(&[("surrogate-key", "a  b"), ("cache-tag", "c d , E"), ("surrogate-key", "f")]);
        let expected = ["a", "b", "f", "c d", "e"].map(|tag| Mark::tag(tag.as_bytes()));
        assert_eq!((both.marks(), both.any()), (&expected[..], false));
        assert_eq!(tags(&[]), Tags::default());
        assert_eq!(tags(&[("cache-tag", " ,"), ("surrogate-key", " ")]), Tags::default());
    }

    #[test]
    fn what_has_too_many_tags_dies_with_any() {
        let many = |count| (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>().join(" ");
        let [most, more] = [MAX_TAGS, MAX_TAGS + 1].map(|count| tags(&[("surrogate-key", &many(count))]));
        assert_eq!((most.marks().len(), most.any()), (MAX_TAGS, false));
        assert_eq!((more.marks().len(), more.any()), (MAX_TAGS, true));
        assert!(tags(&[("cache-tag", &"x".repeat(MAX_TAG + 1))]).any());
        assert!(tags(&[("surrogate-key", "a *")]).any());
    }

    #[test]
    fn keys_belong_to_urls_and_prefixes() {
        let has = |key: &str, mark| of_key(key).any(|own| own == mark);
        let derived = "/a/b.jpg?v=1 image:w=9\n7f\naccept=x\n";
        for (key, url, expected) in [
            ("/a/b", "/a/b", true),
            ("/a/b?x", "/a/b?x", true),
            ("/a/b?x", "/a/b", false),
            ("/a/b", "/a", false),
            (derived, "/a/b.jpg?v=1", true),
            (derived, "/a/b.jpg?v=1 image:w=9", true),
            (derived, "/a/b.jpg?v=1 image:w=8", false),
            (derived, "/a/b.jpg", false),
        ] {
            assert_eq!(has(key, Mark::url(url)), expected, "{key:?} {url}");
        }
        for (key, prefix, expected) in [
            ("/a/b", "", true),
            ("/a/b", "/a", true),
            ("/a/b", "/a/b", true),
            ("/a/", "/a", true),
            ("/a?x", "/a", true),
            ("/ab", "/a", false),
            ("/a/b", "/a/b/c", false),
            (derived, "/a", true),
            (derived, "/a/b.jpg", true),
            ("/a?x=/a/b", "/a?x=", false),
            ("a.example/a/b\n~x;", "a.example/a", true),
            ("a.example/a/b\n~x;", "a.example", true),
            ("a.example/a/b", "/a", false),
            ("a.example/a/b", "", false),
        ] {
            assert_eq!(has(key, Mark::prefix(prefix)), expected, "{key:?} {prefix}");
        }
        let deep = "/x".repeat(4000);
        assert!(has(&deep, Mark::prefix(&deep[..2 * MAX_DEPTH])));
        assert!(of_key(&deep).count() <= MAX_DEPTH + 4);
    }
}
