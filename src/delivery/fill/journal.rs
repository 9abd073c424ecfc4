//! What became of the latest fills, for [`explain`](super::super::explain): per resource the last answer and what was
//! decided on it, per path the addresses that were fetched lately. Bounded, in memory only, and off the way of hits.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use millrace_kit::clock::UnixMillis;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    cache::{
        FieldLines, Fields, Key,
        storable::{Asked, Refusal},
    },
    origin,
};

/// Resources remembered; the one that came first goes first.
const MAX_NOTES: usize = 4096;
/// Paths whose addresses are remembered, and resources whose variants are.
const MAX_FAMILIES: usize = 1024;
/// Members of one family.
const MAX_SIBLINGS: usize = 16;
/// Bytes of a query or selection; longer ones are not remembered.
const MAX_TEXT: usize = 512;
/// Bytes of a field's value; what is longer counts as absent, so as not to be misread.
const MAX_VALUE: usize = 1024;
/// Bytes of all values of one answer; what comes beyond counts as absent too.
const MAX_VALUES: usize = 4096;

/// What is kept of an answer: what decides on storing and reuse, and what tells where it comes from.
const KEPT: [&str; 18] = [
    "age",
    "cache-control",
    "cdn-cache-control",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "pragma",
    "server",
    "set-cookie",
    "surrogate-control",
    "vary",
    "via",
    "x-powered-by",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It was, or began to be, stored.
    Stored,
    Refused(Refusal),
    Failed(origin::ErrorKind),
}

/// The last fill of a resource.
#[derive(Debug)]
pub struct Note {
    pub became: Became,
    pub at: UnixMillis,
    /// Names of fields of the request that may have mattered.
    pub asked_with: Vec<&'static str>,
    /// None when there was no answer.
    pub answer: Option<AnswerThen>,
}

#[derive(Debug)]
pub struct AnswerThen {
    pub status: StatusCode,
    /// Cookies without their values.
    pub fields: Fields,
    pub length: Option<u64>,
    pub origin: Arc<str>,
    pub times: (UnixMillis, UnixMillis),
}

/// Another address of the same path, or another variant of the same resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// The query, or the selection.
    pub text: Box<str>,
    /// Equal for answers that look the same.
    pub likeness: u64,
    pub at: UnixMillis,
}

#[derive(Debug, Default)]
pub struct Journal {
    notes: Mutex<Bounded<u128, Option<Arc<Note>>, MAX_NOTES>>,
    queries: Mutex<Families<u64>>,
    variants: Mutex<Families<u128>>,
}

type Families<K> = Bounded<K, Vec<Sibling>, MAX_FAMILIES>;

/// The first to come is the first to go.
#[derive(Debug)]
struct Bounded<K, V, const MAX: usize> {
    held: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V, const MAX: usize> Default for Bounded<K, V, MAX> {
    fn default() -> Self {
        Self { held: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash, V: Default, const MAX: usize> Bounded<K, V, MAX> {
    fn entry(&mut self, key: K) -> &mut V {
        if !self.held.contains_key(&key) {
            if self.order.len() >= MAX
                && let Some(first) = self.order.pop_front()
            {
                self.held.remove(&first);
            }
            self.order.push_back(key);
        }
        self.held.entry(key).or_default()
    }
}

impl Journal {
    /// An answer came, and this was decided on it. `selection`: of the variant that it is (see `VarySpec::select`).
    pub(super) fn answered(
        &self,
        key: &Key,
        asked: &Asked<'_>,
        selection: Option<String>,
        response: &origin::Response,
        times: (UnixMillis, UnixMillis),
        refusal: Option<Refusal>,
    ) {
        // Said of the head alone.
        if *asked.method != Method::GET {
            return;
        }
        let became = refusal.map_or(Became::Stored, Became::Refused);
        let fields = kept(&response.headers);
        let likeness = likeness(response);
        if let Some(selection) = selection.filter(|_| refusal.is_none()) {
            join(self.variants.lock().entry(key.hash()), &selection, likeness, times.1);
        }
        if let Some((family, query)) = family_of(key) {
            join(self.queries.lock().entry(family), query, likeness, times.1);
        }
        let answer = AnswerThen {
            status: response.status,
            fields,
            length: response.content_length,
            origin: response.origin.clone(),
            times,
        };
        self.note(key, Note { became, at: times.1, asked_with: asked_with(asked), answer: Some(answer) });
    }

    pub(super) fn failed(&self, key: &Key, asked: &Asked<'_>, kind: origin::ErrorKind, at: UnixMillis) {
        self.note(
            key,
            Note { became: Became::Failed(kind), at, asked_with: asked_with(asked), answer: None },
        );
    }

    pub fn of(&self, key: &Key) -> Option<Arc<Note>> {
        self.notes.lock().held.get(&key.hash()).and_then(Clone::clone)
    }

    /// The query of a key, and those under which the same path was fetched, the latest last.
    pub fn queries<'a>(&self, key: &'a Key) -> Option<(&'a str, Vec<Sibling>)> {
        let (family, query) = family_of(key)?;
        Some((query, self.queries.lock().held.get(&family).cloned().unwrap_or_default()))
    }

    /// Selections (see `VarySpec::select`) of variants that were stored, the latest last.
    pub fn variants(&self, key: &Key) -> Vec<Sibling> {
        self.variants.lock().held.get(&key.hash()).cloned().unwrap_or_default()
    }

    fn note(&self, key: &Key, note: Note) {
        *self.notes.lock().entry(key.hash()) = Some(Arc::new(note));
    }
}

/// The query of a key, and a hash of all else in it. Behind a space stands what is made of the source, behind a line break
/// what tells answers apart besides.
fn family_of(key: &Key) -> Option<(u64, &str)> {
    let (path, rest) = key.text().split_once('?')?;
    let (query, tail) = rest.split_at(rest.find([' ', '\n']).unwrap_or(rest.len()));
    Some((xxh3_64([path, tail].concat().as_bytes()), query))
}

fn asked_with(asked: &Asked<'_>) -> Vec<&'static str> {
    let with = [(asked.authorization, "authorization"), (asked.cookie, "cookie")];
    with.into_iter().filter(|(with, _)| *with).map(|(_, name)| name).collect()
}

fn join(family: &mut Vec<Sibling>, text: &str, likeness: u64, at: UnixMillis) {
    if text.len() > MAX_TEXT {
        return;
    }
    family.retain(|sibling| *sibling.text != *text);
    if family.len() == MAX_SIBLINGS {
        family.remove(0);
    }
    family.push(Sibling { text: text.into(), likeness, at });
}

fn kept(headers: &HeaderMap) -> Fields {
    let mut map = HeaderMap::new();
    let mut left = MAX_VALUES;
    for name in KEPT {
        let name = HeaderName::from_static(name);
        for value in headers.get_all(&name).iter().filter(|value| value.len() <= MAX_VALUE) {
            let Some(rest) = left.checked_sub(value.len()) else { continue };
            left = rest;
            match name == header::SET_COOKIE {
                true => map.append(&name, cookie_name(value)),
                false => map.append(&name, value.clone()),
            };
        }
    }
    Fields::from(&map)
}

/// `session=…`
fn cookie_name(cookie: &HeaderValue) -> HeaderValue {
    let name = cookie.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
    HeaderValue::from_bytes(&[name, b"=..."].concat()).unwrap_or(HeaderValue::from_static("..."))
}

/// By its entity tag, or else by how it presents itself.
fn likeness(response: &origin::Response) -> u64 {
    let headers = &response.headers;
    let mut text = response.status.as_u16().to_le_bytes().to_vec();
    match headers.first("etag") {
        Some(tag) => text.extend_from_slice(tag),
        None => {
            for name in ["last-modified", "content-type", "location"] {
                text.extend_from_slice(headers.first(name).unwrap_or_default());
                text.push(0);
            }
            text.extend_from_slice(&response.content_length.unwrap_or(u64::MAX).to_le_bytes());
        }
    }
    xxh3_64(&text)
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::cache::KeySeed;

    fn response(fields: &[(&'static str, &str)]) -> origin::Response {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let body = stream::empty().boxed();
        origin::Response {
            status: StatusCode::OK,
            headers,
            content_length: Some(5),
            body,
            origin: "o".into(),
        }
    }

    fn answered(journal: &Journal, text: &str, response: &origin::Response) {
        let control = crate::cache::control::RequestControl::default();
        let asked = Asked { method: &Method::GET, control: &control, authorization: true, cookie: false };
        let key = Key::new(text, KeySeed(1));
        journal.answered(&key, &asked, None, response, (1, 2), None);
    }

    #[test]
    fn notes_are_bounded_and_the_oldest_go() {
        let journal = Journal::default();
        for number in 0..MAX_NOTES + 10 {
            answered(&journal, &format!("/{number}?x"), &response(&[]));
        }
        let of = |number: usize| journal.of(&Key::new(format!("/{number}?x"), KeySeed(1)));
        assert!(of(9).is_none() && of(10).is_some() && of(MAX_NOTES + 9).is_some());
        assert_eq!(journal.notes.lock().held.len(), MAX_NOTES);
        assert_eq!(journal.queries.lock().held.len(), MAX_FAMILIES);
        for number in 0..MAX_SIBLINGS + 5 {
            answered(&journal, &format!("/a?{number}"), &response(&[]));
        }
        let queries = || journal.queries(&Key::new("/a?9", KeySeed(1))).unwrap().1;
        let before = queries();
        assert_eq!((before.len(), &*before[0].text), (MAX_SIBLINGS, "5"));
        answered(&journal, &format!("/a?{}", "x".repeat(MAX_TEXT + 1)), &response(&[]));
        answered(&journal, "/a?0 image:w=1", &response(&[]));
        assert_eq!(queries(), before);
        let key = Key::new("/a?1 image:w=1", KeySeed(1));
        let derived = journal.queries(&key).unwrap();
        assert_eq!((derived.0, derived.1.len()), ("1", 1));
    }

    #[test]
    fn secrets_and_bulk_are_not_kept() {
        let journal = Journal::default();
        let long = "x".repeat(MAX_VALUE + 1);
        let fields =
            [("set-cookie", "id=secret; Path=/"), ("x-other", "1"), ("vary", &*long), ("etag", "\"1\"")];
        answered(&journal, "/a", &response(&fields));
        let note = journal.of(&Key::new("/a", KeySeed(1))).unwrap();
        let kept = note.answer.as_ref().unwrap().fields.to_header_map();
        assert_eq!(kept.len(), 2);
        assert!(kept["set-cookie"] == "id=..." && kept["etag"] == "\"1\"");
        assert_eq!(note.asked_with, ["authorization"]);
        let many = "x".repeat(MAX_VALUE - 100);
        answered(&journal, "/b", &response(&[("vary", &*many); 50]));
        let note = journal.of(&Key::new("/b", KeySeed(1))).unwrap();
        assert_eq!(note.answer.as_ref().unwrap().fields.to_header_map().len(), 4);
    }

    #[test]
    fn answers_are_alike_by_their_tag_or_their_looks() {
        let tagged = |tag| likeness(&response(&[("etag", tag), ("last-modified", "x")]));
        assert_eq!(tagged("\"1\""), tagged("\"1\""));
        assert_ne!(tagged("\"1\""), tagged("\"2\""));
        let looking = |kind| likeness(&response(&[("content-type", kind)]));
        assert_eq!(looking("a/b"), looking("a/b"));
        assert_ne!(looking("a/b"), looking("a/c"));
    }
}
