//! Which stored variant a request selects (RFC 9111 §4.1).

use super::{FieldLines, control::split_list};

const LANGUAGE: &str = "accept-language";

/// More nominated fields than this and the response is treated as `Vary: *`.
pub const MAX_FIELDS: usize = 16;

/// The field names that a response's `Vary` nominates: lower case, sorted, without repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VarySpec {
    names: Vec<Box<str>>,
}

impl VarySpec {
    pub fn of(fields: &impl FieldLines) -> Self {
        let mut names: Vec<Box<str>> = fields
            .lines("vary")
            // What cannot be read may be the name of any field.
            .map(|line| std::str::from_utf8(line).unwrap_or("*"))
            .flat_map(split_list)
            .map(|name| name.to_ascii_lowercase().into())
            .collect();
        names.sort_unstable();
        names.dedup();
        Self { names }
    }

    /// The same, with these names as well: lower case, sorted, without repeats.
    #[must_use]
    pub fn with(mut self, names: &[Box<str>]) -> Self {
        if !names.is_empty() {
            self.names.extend_from_slice(names);
            self.names.sort_unstable();
            self.names.dedup();
        }
        self
    }

    pub fn from_names(names: Vec<Box<str>>) -> Self {
        Self { names }
    }

    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether it nominates all that the other does.
    pub fn has_all(&self, other: &Self) -> bool {
        other.names.iter().all(|name| self.names.contains(name))
    }

    /// Whether nothing that a request says selects it for certain.
    pub fn is_too_wide(&self) -> bool {
        self.names.len() > MAX_FIELDS || self.names.iter().any(|name| **name == *"*")
    }

    /// Text that is equal for two requests exactly when they select the same variant. Lines are joined and white
    /// space around list members does not count; absence differs from emptiness. Types, languages and codings are compared
    /// by what they mean: neither their case nor the order of equally liked ones counts; what browsers accept for images, by
    /// the formats that not all of them know.
    pub fn select(&self, request: &impl FieldLines) -> String {
        self.select_with(request, None)
    }

    /// What a request that asks for this one language alone would select; `None` when languages do not matter.
    pub fn select_language(&self, request: &impl FieldLines, language: &str) -> Option<String> {
        let language = language.trim_matches([' ', '\t']).to_ascii_lowercase();
        let one = !language.is_empty() && !language.contains([',', ';', '*']);
        (one && self.names.iter().any(|name| **name == *LANGUAGE))
            .then(|| self.select_with(request, Some(&language)))
    }

    /// The same for the language that the request likes better than any other.
    pub fn select_favourite(&self, request: &impl FieldLines) -> Option<String> {
        let lines: Vec<_> = request.lines(LANGUAGE).map(String::from_utf8_lossy).collect();
        let ranked = ranked(lines.iter().flat_map(|line| line.split(',')));
        let favourite = match &ranked[..] {
            [(first, language), (second, _), ..] if first > second => language,
            _ => return None,
        };
        self.select_language(request, favourite)
    }

    fn select_with(&self, request: &impl FieldLines, language: Option<&str>) -> String {
        let mut selected = String::new();
        for name in &self.names {
            selected.push_str(name);
            let lines: Vec<_> = match language.filter(|_| **name == *LANGUAGE) {
                Some(language) => vec![language.into()],
                None => request.lines(name).map(String::from_utf8_lossy).collect(),
            };
            if !lines.is_empty() {
                let members = lines
                    .iter()
                    .flat_map(|line| line.split(','))
                    .map(|member| member.trim_matches([' ', '\t']));
                selected.push('=');
                selected.push_str(&match &**name {
                    LANGUAGE | "accept-encoding" => by_preference(members),
                    "accept" => types(members),
                    _ => members.collect::<Vec<_>>().join(","),
                });
            }
            selected.push('\n');
        }
        selected
    }
}

/// A list with weights (RFC 9110 §12.4.2), the most liked first, equals in alphabetical order.
fn ranked<'a>(members: impl Iterator<Item = &'a str>) -> Vec<(u16, String)> {
    let mut ranked: Vec<(u16, String)> = members
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
        .map(|member| weighted(&member.to_ascii_lowercase()))
        .collect();
    ranked.sort_unstable_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    ranked.dedup();
    ranked
}

fn by_preference<'a>(members: impl Iterator<Item = &'a str>) -> String {
    joined(ranked(members))
}

fn joined(ranked: Vec<(u16, String)>) -> String {
    let texts = ranked.into_iter().map(|(weight, text)| match weight {
        1000 => text,
        weight => format!("{text};q={weight}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

/// Formats of images that some browsers name because others do not know them.
const SPECIAL: [&str; 5] = ["image/avif", "image/heic", "image/heic-sequence", "image/jxl", "image/webp"];

/// What every browser takes for an image, whether it says so or not.
const USUAL: [&str; 7] =
    ["*/*", "image/*", "image/apng", "image/gif", "image/jpeg", "image/png", "image/svg+xml"];

/// Browsers name for images what they know, and that anything else will do, too, each in words of its own: only the special formats
/// tell them apart. A list with anything else in it, with parameters, or with something that is refused (a weight of 0) stays whole: an
/// origin may well heed that, as those do that send films to who takes `video/*` for an image.
fn types<'a>(members: impl Iterator<Item = &'a str>) -> String {
    let ranked = ranked(members);
    let name = |range: &str| SPECIAL.contains(&range);
    // A parameter is a part of the range here, so what has any has none of these names.
    let is_usual = |(weight, range): &(u16, String)| match name(range) {
        true => *weight == 1000,
        false => *weight > 0 && USUAL.contains(&&**range),
    };
    let takes_any = ranked.iter().any(|(weight, range)| *weight > 0 && range == "*/*");
    let mut special: Vec<_> =
        ranked.iter().filter(|(_, range)| name(range)).map(|(_, range)| &**range).collect();
    if special.is_empty() || !takes_any || !ranked.iter().all(is_usual) {
        return joined(ranked);
    }
    special.sort_unstable();
    format!("{},*/*", special.join(","))
}

/// The weight in thousandths, and the member without it. What is not understood stays as it is.
fn weighted(member: &str) -> (u16, String) {
    let whole = || (1000, member.to_owned());
    let Some((range, parameter)) = member.split_once(';') else { return whole() };
    let weight = parameter.trim_matches([' ', '\t']).strip_prefix("q=").and_then(qvalue);
    weight.map_or_else(whole, |weight| (weight, range.trim_end_matches([' ', '\t']).to_owned()))
}

/// A weight (RFC 9110 §12.4.2) in thousandths. `0`, `0.25`, `1.000`: at most three digits behind the point.
pub fn qvalue(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    #[test]
    fn spec_is_sorted_lower_case_and_unique() {
        let spec = VarySpec::of(&map(&[("vary", "Foo, accept"), ("vary", "ACCEPT,, bar")]));
        assert_eq!(spec.names().iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["accept", "bar", "foo"]);
    }

    #[test]
    fn selection_compares_what_the_rfc_compares() {
        let spec = VarySpec::of(&map(&[("vary", "bar, foo")]));
        let base = spec.select(&map(&[("bar", "a, b"), ("foo", "1")]));
        let same: &[&[(&str, &str)]] =
            &[&[("bar", "a,b"), ("foo", "1")], &[("bar", "a"), ("bar", "b"), ("foo", "1"), ("other", "x")]];
        for lines in same {
            assert_eq!(spec.select(&map(lines)), base, "{lines:?}");
        }
        let different: &[&[(&str, &str)]] =
            &[&[("bar", "b, a"), ("foo", "1")], &[("bar", "a, b")], &[("bar", "a, b"), ("foo", "")]];
        for lines in different {
            assert_ne!(spec.select(&map(lines)), base, "{lines:?}");
        }
    }
    #[test]
    fn languages_and_codings_are_compared_by_what_they_mean() {
        let spec = VarySpec::of(&map(&[("vary", "accept-language, accept-encoding, foo")]));
        let select = |name, value| spec.select(&map(&[(name, value)]));
        let cases: &[(&str, &str, &str, bool)] = &[
            ("accept-language", "en, de", "de, en", true),
            ("accept-language", "en, de", "eN,De", true),
            ("accept-language", "en, de", "de;q=1.0, en;q=1", true),
            ("accept-language", "de, en;q=0.5", "en ; q=0.500, de", true),
            ("accept-language", "de, en", "de, en, de,,", true),
            ("accept-language", "de, en;q=0.5", "en, de;q=0.5", false),
            ("accept-language", "de", "de-at", false),
            ("accept-language", "de", "de;q=0", false),
            // No weights: kept as they stand.
            ("accept-language", "de;q=2", "de;q=0.5", false),
            ("accept-language", "de;q=0.5555", "de", false),
            ("accept-language", "de;level=1", "de", false),
            ("accept-encoding", "gzip, br", "BR, gzip", true),
            ("accept-encoding", "gzip, br;q=0.9", "br, gzip;q=0.9", false),
            ("foo", "a, b", "b, a", false),
            ("foo", "a", "A", false),
        ];
        for (name, one, other, same) in cases {
            assert_eq!(select(name, one) == select(name, other), *same, "{name}: {one} | {other}");
        }
        let browsers = [
            "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
            "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
            "image/webp,image/avif,image/gif,image/jpeg;q=0.9,*/*;q=0.1",
            "*/*, Image/WebP, image/avif",
        ];
        let spec = VarySpec::of(&map(&[("vary", "accept")]));
        let accept = |value| spec.select(&map(&[("accept", value)]));
        assert!(
            browsers.iter().all(|browser| accept(browser) == accept(browsers[0])),
            "what they do not share is no format"
        );
        for (one, other, same) in [
            ("text/html, application/json;q=0.9", "application/json;q=0.9,TEXT/html", true),
            (browsers[0], "image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", false),
            (browsers[0], "image/avif;q=0.5,image/webp,*/*;q=0.8", false),
            (browsers[0], "image/avif,image/webp", false),
            (browsers[0], "text/html,image/avif,image/webp,*/*;q=0.8", false),
            // Films for images.
            (
                browsers[0],
                "image/webp,image/avif,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
                false,
            ),
            (browsers[0], "image/avif,image/webp,video/mp4,*/*;q=0.8", false),
            (
                "image/webp,image/avif,video/*;q=0.8,*/*;q=0.5",
                "image/avif, IMAGE/webp, video/*;q=0.80, */*;q=0.5",
                true,
            ),
            // Refused.
            (browsers[0], "image/avif,image/webp,image/png;q=0,*/*;q=0.8", false),
            (browsers[0], "image/avif,image/webp;q=0,*/*;q=0.8", false),
            (browsers[0], "image/avif,image/webp,image/*;q=0,*/*;q=0.8", false),
            (browsers[0], "image/avif,image/webp,*/*;q=0", false),
            // With parameters.
            (browsers[0], "image/avif,image/webp;x=y,*/*;q=0.8", false),
            (browsers[0], "image/avif,image/webp,image/png;x=y,*/*;q=0.8", false),
            (browsers[0], "image/avif,image/webp,image/png;q=0.8;x=y,*/*;q=0.8", false),
            // Not for every browser.
            (browsers[0], "image/avif,image/webp,image/tiff,*/*;q=0.8", false),
            ("image/png,*/*;q=0.8", "image/jpeg,*/*;q=0.8", false),
            ("text/html,*/*;q=0.8", "text/html,*/*;q=0.5", false),
        ] {
            assert_eq!(accept(one) == accept(other), same, "{one} | {other}");
        }
        assert_ne!(select("accept-language", ""), spec.select(&map(&[])), "empty is not absent");
    }
}
