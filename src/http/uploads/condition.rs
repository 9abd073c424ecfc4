//! `If-Match` and `If-None-Match` of requests that change something (RFC 9110 §13.1).

use http::{HeaderMap, HeaderName, header};

use crate::upload::{Condition, Error, Tags};

/// More are refused.
const MAX_TAGS: usize = 64;

pub fn of(headers: &HeaderMap) -> Result<Condition, Error> {
    Ok(Condition {
        // Compared strongly: a weak tag is never met.
        if_match: tags(headers, &header::IF_MATCH, false)?,
        if_none_match: tags(headers, &header::IF_NONE_MATCH, true)?,
    })
}

fn tags(headers: &HeaderMap, field: &HeaderName, weakly: bool) -> Result<Option<Tags>, Error> {
    if !headers.contains_key(field) {
        return Ok(None);
    }
    let wrong = || Error::Bad(format!("{field} is neither * nor a list of entity tags"));
    let mut found = Vec::new();
    for line in headers.get_all(field) {
        let mut rest = line.to_str().map_err(|_| wrong())?.trim();
        if rest == "*" {
            return Ok(Some(Tags::Any));
        }
        while !rest.is_empty() {
            let (weak, tag) = rest.strip_prefix("W/").map_or((false, rest), |tag| (true, tag));
            let inner = tag.strip_prefix('"').ok_or_else(wrong)?;
            let end = inner.find('"').ok_or_else(wrong)?;
            if !weak || weakly {
                found.push(tag[..end + 2].to_owned());
            }
            rest = inner[end + 1..].trim_start();
            if !rest.is_empty() {
                rest = rest.strip_prefix(',').ok_or_else(wrong)?.trim_start();
            }
        }
        if found.len() > MAX_TAGS {
            return Err(wrong());
        }
    }
    Ok(Some(Tags::Of(found)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn lists_of_tags_are_read() {
        let read = |field: HeaderName, text: &'static str| {
            of(&HeaderMap::from_iter([(field, HeaderValue::from_static(text))]))
        };
        let listed = |tags: &[&str]| Some(Tags::Of(tags.iter().map(|tag| (*tag).to_owned()).collect()));
        for (text, strong, weak) in [
            ("*", Some(Tags::Any), Some(Tags::Any)),
            ("\"a\"", listed(&["\"a\""]), listed(&["\"a\""])),
            ("\"a\", W/\"b,c\" ,\"\"", listed(&["\"a\"", "\"\""]), listed(&["\"a\"", "\"b,c\"", "\"\""])),
        ] {
            assert_eq!(read(header::IF_MATCH, text).unwrap().if_match, strong, "{text}");
            assert_eq!(read(header::IF_NONE_MATCH, text).unwrap().if_none_match, weak, "{text}");
        }
        for text in ["a", "\"a", "\"a\" \"b\"", "*, \"a\""] {
            assert!(read(header::IF_MATCH, text).is_err(), "{text}");
        }
        assert_eq!(of(&HeaderMap::new()).unwrap(), Condition::default());
    }
}
