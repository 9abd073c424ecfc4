//! Cache control that is said to caches like us alone: `CDN-Cache-Control` (RFC 9213), a structured dictionary, and
//! `Surrogate-Control` (W3C Edge Architecture), which is written like `Cache-Control`.

use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::{
    FieldLines,
    control::{MAX_SECONDS, ResponseControl, for_each_directive},
};

/// The policy of the first of these fields that is valid and says anything. None: `Cache-Control` and `Expires` count.
pub fn parse(fields: &impl FieldLines) -> Option<ResponseControl> {
    cdn_cache_control(fields).or_else(|| surrogate_control(fields))
}

/// The name of the field whose policy counts, in lower case.
pub fn in_charge(fields: &impl FieldLines) -> &'static str {
    match (cdn_cache_control(fields), surrogate_control(fields)) {
        (Some(_), _) => "cdn-cache-control",
        (None, Some(_)) => "surrogate-control",
        (None, None) => "cache-control",
    }
}

/// RFC 9213 §2.1. A field that is no dictionary, or an empty one, counts as absent. So does a directive whose value
/// is of another type than its own.
fn cdn_cache_control(fields: &impl FieldLines) -> Option<ResponseControl> {
    let lines: Vec<_> = fields.lines("cdn-cache-control").collect();
    let directives = Parser::new(&lines.join(&b", "[..])).parse::<Dictionary>().ok()?;
    let mut control = ResponseControl::default();
    for (name, entry) in &directives {
        let ListEntry::Item(item) = entry else { continue };
        match (control.seconds_of(name.as_str()), &item.bare_item) {
            (Some(slot), BareItem::Integer(seconds)) => {
                *slot =
                    Some(u32::try_from(i64::from(*seconds).max(0)).unwrap_or(MAX_SECONDS).min(MAX_SECONDS));
            }
            // A string is a list of field names; the bare form, which is safe, stands for it.
            (None, BareItem::Boolean(true) | BareItem::String(_)) => control.add_flag(name.as_str()),
            _ => {}
        }
    }
    (!directives.is_empty()).then_some(control)
}

/// A directive with a parameter is for the surrogate of that name. `max-age=60+30`: fresh for 60 s, usable for 30 more
/// while it is validated.
fn surrogate_control(fields: &impl FieldLines) -> Option<ResponseControl> {
    let mut control = ResponseControl::default();
    for_each_directive(fields.lines("surrogate-control"), |name, value| {
        if name.contains(';') || value.is_some_and(|value| value.contains(';')) {
            return;
        }
        match (name, value.and_then(|value| value.split_once('+'))) {
            ("max-age", Some((fresh, stale))) => {
                control.add_text("max-age", Some(fresh));
                control.add_text("stale-while-revalidate", Some(stale));
            }
            // We are as remote from the origin as can be.
            ("no-store-remote", _) => control.add_flag("no-store"),
            _ => control.add_text(name, value),
        }
    });
    (control != ResponseControl::default()).then_some(control)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const NONE: ResponseControl = ResponseControl {
        no_store: false,
        no_cache: false,
        no_cache_fields: false,
        private: false,
        public: false,
        must_revalidate: false,
        proxy_revalidate: false,
        must_understand: false,
        immutable: false,
        max_age: None,
        s_maxage: None,
        stale_while_revalidate: None,
        stale_if_error: None,
        targeted: false,
    };

    fn control(lines: &[(&'static str, &str)]) -> ResponseControl {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        ResponseControl::parse(&map)
    }

    fn max_age(seconds: u32) -> ResponseControl {
        ResponseControl { max_age: Some(seconds), targeted: true, ..NONE }
    }

    #[test]
    fn a_dictionary_takes_the_place_of_cache_control() {
        let none = ResponseControl { targeted: true, ..NONE };
        let cases = [
            ("max-age=60", max_age(60)),
            ("max-age=2147483648", max_age(MAX_SECONDS)),
            ("max-age=99999999999", max_age(MAX_SECONDS)),
            ("max-age=-1", max_age(0)),
            ("max-age=5, max-age=60", max_age(60)),
            ("foobar, max-age=60", max_age(60)),
            ("max-age=60;x=\"y\", q=(a b)", max_age(60)),
            ("no-store", ResponseControl { no_store: true, ..none }),
            ("private, no-cache", ResponseControl { private: true, no_cache: true, ..none }),
            ("no-cache=\"set-cookie\"", ResponseControl { no_cache: true, ..none }),
            (
                "max-age=60, must-revalidate, stale-if-error=5",
                ResponseControl { must_revalidate: true, stale_if_error: Some(5), ..max_age(60) },
            ),
            // Of another type than the directive's.
            ("max-age=60.0", none),
            ("max-age=\"60\"", none),
            ("max-age", none),
            ("no-store=?0", none),
            ("no-store=1", none),
            // Whoever wants to keep other caches from storing says something that means nothing.
            ("none", none),
        ];
        for (value, expected) in cases {
            let found = control(&[("cdn-cache-control", value), ("cache-control", "no-store, max-age=1")]);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_dictionary_counts_as_absent() {
        let general = ResponseControl { max_age: Some(1), ..NONE };
        for value in
            ["", "  ", "max-age=10000, &&&&&", "MaX-aGe=60", "max-age =60", "max-age= 60", "max-age=60,"]
        {
            assert_eq!(
                control(&[("cdn-cache-control", value), ("cache-control", "max-age=1")]),
                general,
                "{value}"
            );
        }
    }

    #[test]
    fn several_lines_are_one_dictionary() {
        let lines = [("cdn-cache-control", "max-age=60"), ("cdn-cache-control", "no-cache")];
        assert_eq!(control(&lines), ResponseControl { no_cache: true, ..max_age(60) });
        let broken =
            [("cdn-cache-control", "max-age=60"), ("cdn-cache-control", "&"), ("cache-control", "private")];
        assert_eq!(control(&broken), ResponseControl { private: true, ..NONE });
    }

    #[test]
    fn surrogate_control_comes_second() {
        let none = ResponseControl { targeted: true, ..NONE };
        let cases = [
            ("max-age=60", max_age(60)),
            ("Max-Age=60, content=\"ESI/1.0\"", max_age(60)),
            ("max-age=60+30", ResponseControl { stale_while_revalidate: Some(30), ..max_age(60) }),
            ("no-store", ResponseControl { no_store: true, ..none }),
            ("no-store-remote, max-age=60", ResponseControl { no_store: true, ..max_age(60) }),
            ("max-age=60, no-store;other", max_age(60)),
        ];
        for (value, expected) in cases {
            let found = control(&[("surrogate-control", value), ("cache-control", "private, max-age=1")]);
            assert_eq!(found, expected, "{value}");
        }
        let both = [("surrogate-control", "no-store"), ("cdn-cache-control", "max-age=60")];
        assert_eq!(control(&both), max_age(60));
        for value in ["", "content=\"ESI/1.0\"", "max-age=60;other"] {
            let found = control(&[("surrogate-control", value), ("cache-control", "private")]);
            assert_eq!(found, ResponseControl { private: true, ..NONE }, "{value}");
        }
    }
}
