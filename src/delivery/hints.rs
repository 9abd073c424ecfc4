//! Client hints: what browsers tell of themselves in fields, when they have been asked to. Which of them count is for the
//! address and its route to say.

use http::{HeaderMap, HeaderValue};

use crate::{
    cache::FieldLines,
    media::image::{Hints, Told},
};

/// A hint, its field, and the field's name before it was a standard.
const FIELDS: [(Hints, &str, Option<&str>); 4] = [
    (Hints::DPR, "sec-ch-dpr", Some("dpr")),
    (Hints::WIDTH, "sec-ch-width", Some("width")),
    (Hints::VIEWPORT_WIDTH, "sec-ch-viewport-width", Some("viewport-width")),
    (Hints::SAVE_DATA, "save-data", None),
];

/// More is told by nobody's display.
const MAX_VALUE: f64 = 100_000.0;

pub fn told(headers: &HeaderMap, hints: Hints) -> Told {
    let value = |hint: Hints| {
        let (_, field, earlier) = FIELDS.iter().find(|(known, ..)| *known == hint && hints.has(hint))?;
        let line = headers.first(field).or_else(|| headers.first((*earlier)?))?;
        std::str::from_utf8(line).ok().map(str::trim)
    };
    let number = |hint| {
        let text = value(hint)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        text.parse::<f64>().ok().filter(|number| plain && *number > 0.0 && *number <= MAX_VALUE)
    };
    Told {
        dpr: number(Hints::DPR),
        width: number(Hints::WIDTH),
        viewport_width: number(Hints::VIEWPORT_WIDTH),
        save_data: value(Hints::SAVE_DATA).is_some_and(|value| value.eq_ignore_ascii_case("on")),
    }
}

/// Names of the fields that tell, for `Vary`.
pub fn fields(hints: Hints) -> impl Iterator<Item = &'static str> {
    let known = FIELDS.iter().filter(move |(hint, ..)| hints.has(*hint));
    known.flat_map(|(_, field, earlier)| [Some(*field), *earlier]).flatten()
}

/// What `Accept-CH` says to have them told. `Save-Data` is told unasked.
pub fn accepted(hints: Hints) -> Option<HeaderValue> {
    let names: Vec<_> = fields(hints).filter(|name| *name != "save-data").collect();
    // Names of fields are always a valid value.
    if names.is_empty() { None } else { HeaderValue::try_from(names.join(", ")).ok() }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn all() -> Hints {
        FIELDS.iter().fold(Hints::default(), |all, (hint, ..)| all.with(*hint))
    }

    #[test]
    fn values_are_read_from_either_name() {
        let map = |lines: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            lines.iter().map(pair).collect()
        };
        let headers = map(&[("dpr", "1"), ("sec-ch-dpr", "2.5"), ("width", "640"), ("save-data", "on")]);
        let expected = Told { dpr: Some(2.5), width: Some(640.0), viewport_width: None, save_data: true };
        assert_eq!(told(&headers, all()), expected);
        assert_eq!(told(&headers, Hints::WIDTH), Told { width: Some(640.0), ..Told::default() });
        for bad in ["0", "-1", "1e3", "NaN", "inf", "", "2;a=b", "100001"] {
            assert_eq!(told(&map(&[("dpr", bad), ("save-data", bad)]), all()), Told::default(), "{bad}");
        }
    }

    #[test]
    fn fields_are_named_for_caches_and_browsers() {
        let names: Vec<_> = fields(Hints::DPR.with(Hints::SAVE_DATA)).collect();
        assert_eq!(names, ["sec-ch-dpr", "dpr", "save-data"]);
        assert_eq!(accepted(Hints::DPR.with(Hints::SAVE_DATA)).unwrap(), "sec-ch-dpr, dpr");
        assert_eq!(accepted(Hints::SAVE_DATA), None);
    }
}
