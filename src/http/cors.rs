//! What pages of other sites may do with what a route has (the Fetch standard's CORS protocol). It is said anew with each
//! answer and stored with none, so that no copy is for the wrong site.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::delivery::{Body, FieldLines, Fields, Outcome, Reason, Response, Served};

/// The rule of a route.
#[derive(Debug, Clone)]
pub struct Rule {
    pub origins: Origins,
    pub methods: HeaderValue,
    /// None: all that are asked for.
    pub headers: Option<HeaderValue>,
    /// Fields of answers that scripts may read.
    pub exposed: Option<HeaderValue>,
    /// Seconds that a browser need not ask again.
    pub max_age: HeaderValue,
}

/// Whose pages may.
#[derive(Debug, Clone)]
pub enum Origins {
    All,
    /// In lower case: `https://a.example`, or `https://*.a.example` for all names below.
    These(Vec<String>),
}

/// Longer ones are nobody's.
const MAX_ORIGIN: usize = 512;

impl Origins {
    fn allows(&self, origin: &[u8]) -> bool {
        let Self::These(origins) = self else { return true };
        let Ok(origin) = std::str::from_utf8(origin) else { return false };
        let origin = origin.to_ascii_lowercase();
        origins.iter().any(|allowed| match allowed.split_once("*.") {
            None => *allowed == origin,
            Some((scheme, domain)) => origin.strip_prefix(scheme).is_some_and(|host| {
                let name = host.strip_suffix(domain).and_then(|name| name.strip_suffix('.'));
                name.is_some_and(|name| !name.is_empty() && !name.contains(['/', ':', '@']))
            }),
        })
    }
}

impl Rule {
    /// The answer to a browser that asks what it may send; None: it is another request.
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let asked = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if *method != Method::OPTIONS || !asked || !headers.contains_key(header::ORIGIN) {
            return None;
        }
        let served = Served::new(Outcome::Bypass, Reason::Preflight);
        let mut fields = HeaderMap::new();
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let response = Response::new(StatusCode::NO_CONTENT, Fields::Own(fields), Body::Empty, served)
            .with(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone())
            .with(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        Some(match self.headers.as_ref().or(wanted) {
            Some(allowed) => response.with(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone()),
            None => response,
        })
    }

    /// Says with the answer whose pages may read it. What its origin says about that does not count.
    pub fn open(&self, response: &mut Response, origin: Option<&[u8]>) {
        response.own_cors = true;
        if let Origins::These(_) = self.origins {
            vary(response, "Origin");
        }
        let value = match (&self.origins, origin) {
            (Origins::All, _) => HeaderValue::from_static("*"),
            (origins, Some(origin)) if origin.len() <= MAX_ORIGIN && origins.allows(origin) => {
                match HeaderValue::from_bytes(origin) {
                    Ok(value) => value,
                    Err(_) => return,
                }
            }
            _ => return,
        };
        response.added.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, value));
        if let Some(exposed) = &self.exposed {
            response.added.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone()));
        }
    }
}

/// Adds a name to `Vary`, wherever that comes from.
fn vary(response: &mut Response, name: &str) {
    let ours = response.added.iter().filter(|(other, _)| *other == header::VARY);
    let mut text = joined(ours.map(|(_, value)| value.as_bytes()));
    if text.is_empty() {
        text = match &response.fields {
            Fields::Stored(head) => joined(head.fields.lines("vary")),
            Fields::Own(headers) => joined(headers.lines("vary")),
        };
    }
    let has = text.split(',').map(str::trim).any(|other| other == "*" || other.eq_ignore_ascii_case(name));
    if has {
        return;
    }
    if !text.is_empty() {
        text.push_str(", ");
    }
    text.push_str(name);
    if let Ok(value) = HeaderValue::try_from(text) {
        response.added.retain(|(other, _)| *other != header::VARY);
        response.added.push((header::VARY, value));
    }
}

fn joined<'a>(lines: impl Iterator<Item = &'a [u8]>) -> String {
    let mut text = String::new();
    for line in lines {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&String::from_utf8_lossy(line));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_as_a_whole() {
        let origins = ["https://a.example", "https://*.b.example", "http://localhost:3000"];
        let origins = Origins::These(origins.map(str::to_owned).to_vec());
        for (origin, allowed) in [
            ("https://a.example", true),
            ("HTTPS://A.example", true),
            ("http://a.example", false),
            ("https://a.example:8443", false),
            ("https://a.example.evil.example", false),
            ("https://x.b.example", true),
            ("https://y.x.b.example", true),
            ("https://b.example", false),
            ("https://.b.example", false),
            ("https://evil.example/.b.example", false),
            ("https://evilb.example", false),
            ("https://x.b.example:1", false),
            ("http://localhost:3000", true),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(origins.allows(origin.as_bytes()), allowed, "{origin}");
        }
    }
}
