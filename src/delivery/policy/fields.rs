//! Which fields of a request an origin gets to see, and which of them tell answers apart.
//!
//! What reaches an origin can change its answer, and what changes the answer belongs into the key: else one client chooses
//! what all others get. So a route may name the fields that count; the rest of what is known to be dangerous never goes on.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Rules for the fields of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldRule {
    /// None: all but those that [`is_dangerous`].
    forward: Option<Vec<HeaderName>>,
    keyed: Vec<HeaderName>,
    /// Sorted. If there are any, no other cookie counts.
    cookies: Vec<Box<str>>,
    /// Lower case.
    nominated: Vec<Box<str>>,
}

/// Fields and cookies in a route's key, together. Each may double what is stored.
pub const MAX_KEYED: usize = 8;
/// Bytes of a field in the key, or of a cookie's value. A longer one counts as absent, here and for the origin.
pub const MAX_VALUE: usize = 256;

/// Fields that never go to an origin: what speaks of this connection only.
const WITHHELD: [HeaderName; 3] = [header::HOST, header::EXPECT, header::FORWARDED];

/// With these a client could say to be asking for something else than it asks us for; many frameworks believe them.
const DANGEROUS: [&str; 33] = [
    "client-ip",
    "front-end-https",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-middleware-subrequest",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-override-url",
    "x-proxy-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-url-scheme",
];

/// Conditions and ranges: the cache asks its own, and needs the client's to judge them.
const JUDGED_HERE: [HeaderName; 7] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::CONTENT_LENGTH,
];

pub fn is_dangerous(name: &str) -> bool {
    DANGEROUS.binary_search(&name).is_ok()
}

pub fn is_judged_here(name: &HeaderName) -> bool {
    JUDGED_HERE.contains(name)
}

/// Why a field cannot be in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadField {
    #[error("is not the name of a field")]
    Name,
    #[error("cannot be in the key: it is judged here, or speaks of the connection")]
    NotKeyed,
    #[error("names cookies one by one in `key_cookies`")]
    Cookies,
    #[error("lets clients choose what others get, unless it is one of `key_headers` too")]
    Dangerous,
}

impl FieldRule {
    /// `forward`: None for all but the dangerous ones.
    pub fn new(
        forward: Option<Vec<HeaderName>>,
        mut keyed: Vec<HeaderName>,
        mut cookies: Vec<Box<str>>,
    ) -> Self {
        keyed.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        keyed.dedup();
        cookies.sort_unstable();
        cookies.dedup();
        let mut nominated: Vec<Box<str>> = keyed.iter().map(|name| name.as_str().into()).collect();
        nominated.extend((!cookies.is_empty()).then(|| header::COOKIE.as_str().into()));
        nominated.sort_unstable();
        nominated.dedup();
        Self { forward, keyed, cookies, nominated }
    }

    /// The name of a field that may be in a key.
    pub fn keyed_name(text: &str) -> Result<HeaderName, BadField> {
        let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| BadField::Name)?;
        match name {
            header::COOKIE => Err(BadField::Cookies),
            header::CACHE_CONTROL | header::PRAGMA | header::VIA => Err(BadField::NotKeyed),
            // With it in the key, origins may be told.
            header::HOST => Ok(name),
            _ if is_judged_here(&name) || WITHHELD.contains(&name) => Err(BadField::NotKeyed),
            _ => Ok(name),
        }
    }

    /// Fields by which answers are told apart, as if each answer named them in `Vary`: sorted, in lower case.
    pub fn nominated(&self) -> &[Box<str>] {
        &self.nominated
    }

    /// Whether the only cookies that count are in the key.
    pub fn has_cookies(&self) -> bool {
        !self.cookies.is_empty()
    }

    /// Text that is equal for rules which tell answers apart alike.
    pub fn key_text(&self) -> String {
        match self.nominated.is_empty() {
            true => String::new(),
            false => format!("\n~{};{}", self.nominated.join(","), self.cookies.join(",")),
        }
    }

    /// The fields that an origin may come to see, and those that are judged here. The others are as good as not there.
    pub fn heeded(&self, fields: &Arc<HeaderMap>) -> Arc<HeaderMap> {
        let unchanged = self.cookies.is_empty()
            && fields.keys().all(|name| self.keeps(name))
            && !self.keyed.iter().any(|name| is_too_long(fields, name));
        if unchanged {
            return fields.clone();
        }
        let mut heeded = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields.iter().filter(|(name, _)| self.keeps(name)) {
            heeded.append(name, value.clone());
        }
        self.shorten(fields, &mut heeded);
        Arc::new(heeded)
    }

    /// Of a request for something that is made of a source: the fields to ask for the source with.
    pub fn for_source(&self, fields: &HeaderMap) -> HeaderMap {
        let mut chosen = HeaderMap::new();
        for name in &self.keyed {
            for value in fields.get_all(name) {
                chosen.append(name, value.clone());
            }
        }
        self.shorten(fields, &mut chosen);
        chosen
    }

    /// Whether fields of these names count as they come, so that a variant can be chosen by them.
    pub fn passes_all(&self, names: &[Box<str>]) -> bool {
        // More would cost more to look up here than the long way does.
        names.iter().all(|name| {
            let name = match &**name {
                "accept-encoding" => header::ACCEPT_ENCODING,
                "accept" => header::ACCEPT,
                "origin" => header::ORIGIN,
                _ => return false,
            };
            self.keeps(&name) && !self.keyed.contains(&name)
        })
    }

    fn keeps(&self, name: &HeaderName) -> bool {
        if is_judged_here(name) || self.keyed.contains(name) {
            return true;
        }
        match &self.forward {
            Some(forward) => forward.contains(name),
            None => !WITHHELD.contains(name) && !is_dangerous(name.as_str()),
        }
    }

    /// Leaves of what is in the key only what has the length for it, and of cookies only those that count.
    fn shorten(&self, fields: &HeaderMap, into: &mut HeaderMap) {
        for name in &self.keyed {
            if is_too_long(fields, name) {
                into.remove(name);
            }
        }
        if !self.cookies.is_empty() {
            into.remove(header::COOKIE);
            if let Some(cookies) = self.chosen_cookies(fields) {
                into.insert(header::COOKIE, cookies);
            }
        }
    }

    /// In the order of their names; of several with one name the first.
    fn chosen_cookies(&self, fields: &HeaderMap) -> Option<HeaderValue> {
        let lines = fields.get_all(header::COOKIE).iter();
        let pairs: Vec<&[u8]> = lines
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .map(<[u8]>::trim_ascii)
            .collect();
        let value = |name: &str| {
            let of = |pair: &&[u8]| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(<[u8]>::len);
            pairs.iter().copied().find(|pair| of(pair).is_some_and(|length| length <= MAX_VALUE))
        };
        let chosen: Vec<&[u8]> = self.cookies.iter().filter_map(|name| value(name)).collect();
        if chosen.is_empty() { None } else { HeaderValue::from_bytes(&chosen.join(&b"; "[..])).ok() }
    }
}

fn is_too_long(fields: &HeaderMap, name: &HeaderName) -> bool {
    fields.get_all(name).iter().map(|value| value.len() + 1).sum::<usize>() > MAX_VALUE + 1
}

/// What an origin gets to see of a request that is only passed on.
pub fn passed(fields: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    fields.iter().filter(|(name, _)| !WITHHELD.contains(name) && !is_dangerous(name.as_str()))
}

impl FieldRule {
    /// Whether answers are told apart by the client's host, so that an origin may be told.
    pub fn has_host(&self) -> bool {
        self.keyed.contains(&header::HOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> Arc<HeaderMap> {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Arc::new(map)
    }

    fn shown(fields: &HeaderMap) -> Vec<String> {
        let mut shown: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        shown.sort_unstable();
        shown
    }

    #[test]
    fn the_dangerous_are_found() {
        assert!(DANGEROUS.is_sorted());
        assert!(
            is_dangerous("x-forwarded-host") && is_dangerous("client-ip") && is_dangerous("x-url-scheme")
        );
        assert!(!is_dangerous("x-custom") && !is_dangerous("accept"));
    }

    #[test]
    fn by_default_all_but_the_dangerous_count() {
        let rule = FieldRule::default();
        let harmless = fields(&[("accept", "a"), ("range", "bytes=0-"), ("cookie", "a=1; b=2")]);
        assert!(Arc::ptr_eq(&rule.heeded(&harmless), &harmless));
        let asked = fields(&[("host", "h"), ("x-forwarded-host", "evil"), ("req-num", "1")]);
        assert_eq!(shown(&rule.heeded(&asked)), ["req-num=1"]);
        assert_eq!((rule.nominated(), rule.key_text()), (&[][..], String::new()));
    }

    #[test]
    fn a_list_lets_through_what_it_names_and_what_is_keyed() {
        let rule = FieldRule::new(
            Some(vec![header::USER_AGENT]),
            vec![HeaderName::from_static("x-forwarded-proto"); 2],
            Vec::new(),
        );
        let asked = fields(&[
            ("user-agent", "u"),
            ("accept", "a"),
            ("if-none-match", "x"),
            ("x-forwarded-proto", "https"),
        ]);
        let expected = ["if-none-match=x", "user-agent=u", "x-forwarded-proto=https"];
        assert_eq!(shown(&rule.heeded(&asked)), expected);
        assert_eq!(shown(&rule.for_source(&asked)), ["x-forwarded-proto=https"]);
    }

    #[test]
    fn chosen_cookies_come_alone_and_in_order() {
        let rule = FieldRule::new(None, Vec::new(), vec!["lang".into(), "ab".into()]);
        let cookies = |value: &str| shown(&rule.heeded(&fields(&[("cookie", value)]))).join("|");
        assert_eq!(cookies("sid=9; lang=de;ab=1"), "cookie=ab=1; lang=de");
        assert_eq!(cookies("lang=de; lang=en; language=x"), "cookie=lang=de");
        assert_eq!(cookies("sid=9"), "");
        assert_eq!(cookies(&format!("lang={}", "x".repeat(MAX_VALUE + 1))), "");
        assert_eq!(rule.nominated(), [Box::<str>::from("cookie")]);
    }

    #[test]
    fn what_is_too_long_for_a_key_is_absent() {
        let name = HeaderName::from_static("x-country");
        let rule = FieldRule::new(None, vec![name], Vec::new());
        for (length, kept) in [(MAX_VALUE, true), (MAX_VALUE + 1, false)] {
            let asked = fields(&[("x-country", &"x".repeat(length))]);
            assert_eq!(rule.heeded(&asked).contains_key("x-country"), kept);
        }
    }

    #[test]
    fn some_fields_cannot_be_keyed() {
        for (name, reason) in [
            ("range", BadField::NotKeyed),
            ("expect", BadField::NotKeyed),
            ("cache-control", BadField::NotKeyed),
            ("cookie", BadField::Cookies),
            ("a b", BadField::Name),
        ] {
            assert_eq!(FieldRule::keyed_name(name), Err(reason), "{name}");
        }
        assert_eq!(FieldRule::keyed_name("X-Country").unwrap().as_str(), "x-country");
        assert!(FieldRule::keyed_name("Host").is_ok(), "told apart by it, an origin may be told");
    }
}
