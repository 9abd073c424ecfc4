//! The `name{label="value",…}` part of a sample: checked while scanning, taken apart only on demand.

use std::borrow::Cow;

use super::{Limits, Problem, cursor::Cursor};
use crate::model::{Builder, Labels, METRIC_NAME};

/// The text of a series that was found to be well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Series<'a>(&'a str);

/// A label as written: the value still has its escapes.
struct Written<'a> {
    name: Cow<'a, str>,
    value: &'a str,
}

impl<'a> Series<'a> {
    pub fn text(self) -> &'a str {
        self.0
    }

    /// With the metric name as label `__name__`; empty values are dropped.
    pub fn labels(self) -> Labels {
        let mut builder = Builder::default();
        let mut add = |label: &Written<'_>| {
            builder.set(&label.name, &unescape(label.value));
            Ok(())
        };
        // The text was checked by `scan`: it cannot fail now.
        let _ = walk(&mut Cursor::new(self.0), &mut add);
        builder.build()
    }
}

/// `names` is only there to be used again and again.
pub(super) fn scan<'a>(
    cursor: &mut Cursor<'a>,
    limits: &Limits,
    names: &mut Vec<Cow<'a, str>>,
) -> Result<Series<'a>, Problem> {
    let start = cursor.position();
    names.clear();
    let mut seen = Seen { limits, names };
    walk(cursor, &mut |label| seen.check(label))?;
    Ok(Series(cursor.since(start).trim_end_matches([' ', '\t'])))
}

struct Seen<'a, 'l> {
    limits: &'l Limits,
    names: &'l mut Vec<Cow<'a, str>>,
}

impl<'a> Seen<'a, '_> {
    fn check(&mut self, label: &Written<'a>) -> Result<(), Problem> {
        if label.name == METRIC_NAME {
            let named_before = self.names.iter().any(|name| name == METRIC_NAME);
            if named_before {
                return Err(Problem::NameTwice);
            }
            if label.value.is_empty() {
                return Err(Problem::Name);
            }
            if label.value.len() > self.limits.name_bytes {
                return Err(Problem::NameTooLong);
            }
        } else if self.names.contains(&label.name) {
            return Err(Problem::LabelTwice);
        } else if label.name.len() > self.limits.name_bytes {
            return Err(Problem::NameTooLong);
        } else if label.value.len() > self.limits.value_bytes {
            return Err(Problem::ValueTooLong);
        }
        // The metric name is not counted as a label.
        if self.names.len() > self.limits.labels {
            return Err(Problem::TooManyLabels);
        }
        self.names.push(label.name.clone());
        Ok(())
    }
}

/// Calls `each` with the metric name (as `__name__`) and every label, in the order of the text.
fn walk<'a>(
    cursor: &mut Cursor<'a>,
    each: &mut impl FnMut(&Written<'a>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let named = |name| Written { name: Cow::Borrowed(METRIC_NAME), value: name };
    let name = identifier(cursor, |byte| byte == b':');
    if !name.is_empty() {
        each(&named(name))?;
    }
    cursor.skip_blanks();
    let mut has_name = !name.is_empty();
    if !cursor.eat(b'{') {
        return if has_name { Ok(()) } else { Err(Problem::Name) };
    }
    loop {
        cursor.skip_blanks();
        if cursor.eat(b'}') {
            return if has_name { Ok(()) } else { Err(Problem::Name) };
        }
        let quoted = cursor.peek() == Some(b'"');
        let name = match quoted {
            true => cursor.quoted().filter(|name| !name.is_empty()).ok_or(Problem::LabelName)?,
            false => identifier(cursor, |_| false),
        };
        if name.is_empty() {
            return Err(Problem::LabelName);
        }
        cursor.skip_blanks();
        if cursor.eat(b'=') {
            cursor.skip_blanks();
            let value = cursor.quoted().ok_or(Problem::LabelValue)?;
            let name = if quoted { unescape(name) } else { Cow::Borrowed(name) };
            each(&Written { name, value })?;
        } else if quoted {
            each(&named(name))?;
            has_name = true;
        } else {
            return Err(Problem::LabelValue);
        }
        let end = cursor.position();
        cursor.skip_blanks();
        // A blank separates too: Prometheus reads it so.
        if !cursor.eat(b',') && cursor.peek() != Some(b'}') && cursor.position() == end {
            return Err(Problem::LabelSeparator);
        }
    }
}

fn identifier<'a>(cursor: &mut Cursor<'a>, also: impl Fn(u8) -> bool) -> &'a str {
    match cursor.peek() {
        Some(first) if first.is_ascii_alphabetic() || first == b'_' || also(first) => {
            cursor.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte))
        }
        _ => "",
    }
}

/// `\\`, `\"` and `\n`; any other backslash stands for itself.
fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(slash) = rest.find('\\') {
        value.push_str(&rest[..slash]);
        let after = &rest[slash + 1..];
        let (meant, length) = match after.as_bytes().first() {
            Some(b'n') => ("\n", 1),
            Some(b'"') => ("\"", 1),
            Some(b'\\') => ("\\", 1),
            _ => ("\\", 0),
        };
        value.push_str(meant);
        rest = &after[length..];
    }
    value.push_str(rest);
    Cow::Owned(value)
}
