//! Where settings come from: a TOML text, environment variables, flags. Each knows how to name the place of a fault.

use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Fault, Faults, check};

/// One source of settings.
#[derive(Debug, Clone)]
pub enum Layer {
    File {
        /// As shown in faults.
        name: String,
        text: String,
    },
    /// Variables `PREFIX__SECTION__KEY`; the others are ignored.
    Env { prefix: &'static str, vars: Vec<(String, String)> },
    /// (flag as shown in faults, dotted key, value as text).
    Flags(Vec<(String, String, String)>),
}

impl Layer {
    pub fn file(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self::File { name: name.into(), text: text.into() }
    }

    pub fn env(prefix: &'static str, vars: Vec<(String, String)>) -> Self {
        Self::Env { prefix, vars }
    }

    pub fn flags(flags: Vec<(String, String, String)>) -> Self {
        Self::Flags(flags)
    }

    pub(super) fn merge_into(&self, merged: &mut Value, schema: &Value, faults: &mut Faults) {
        match self {
            Self::File { name, text } => merge_file(name, text, merged, schema, faults),
            Self::Env { prefix, vars } => {
                let start = format!("{prefix}__");
                for (variable, value) in vars {
                    if let Some(rest) = variable.strip_prefix(&start) {
                        let key = rest.to_ascii_lowercase().replace("__", ".");
                        merge_text(variable, &key, value, merged, schema, faults);
                    }
                }
            }
            Self::Flags(flags) => {
                for (flag, key, value) in flags {
                    merge_text(flag, key, value, merged, schema, faults);
                }
            }
        }
    }
}

fn merge_file(name: &str, text: &str, merged: &mut Value, schema: &Value, faults: &mut Faults) {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error.span().map_or_else(|| name.to_owned(), |span| at_line(name, text, span.start));
        faults.0.push(Fault { place, key: String::new(), message: error.message().to_owned() });
    }
    let mut found = Vec::new();
    let value = to_json(table.get_ref(), &mut |key, start| found.push((key, start)), "");
    let place = |key: &str| {
        let start = found.iter().find(|(known, _)| known == key).map(|(_, start)| *start);
        start.map_or_else(|| name.to_owned(), |start| at_line(name, text, start))
    };
    let before = faults.0.len();
    check::check(&value, schema, &mut |key, message| {
        faults.0.push(Fault { place: place(key), key: key.to_owned(), message });
    });
    let line_of = |fault: &Fault| -> usize {
        fault.place.rsplit(':').next().and_then(|line| line.parse().ok()).unwrap_or(0)
    };
    faults.0[before..].sort_by_key(line_of);
    merge(merged, value);
}

fn merge_text(place: &str, key: &str, text: &str, merged: &mut Value, schema: &Value, faults: &mut Faults) {
    let mut fault = |message| {
        faults.0.push(Fault { place: place.to_owned(), key: key.to_owned(), message });
    };
    let leaf = match check::descend(key, schema) {
        Ok(leaf) => leaf,
        Err(message) => return fault(message),
    };
    match check::from_text(text, leaf, schema) {
        Ok(value) => {
            let nested = key
                .rsplit('.')
                .fold(value, |inner, part| Value::Object(Map::from_iter([(part.to_owned(), inner)])));
            merge(merged, nested);
        }
        Err(message) => fault(message),
    }
}

/// Objects merge key by key; everything else replaces.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Calls `seen` with the dotted path and the byte offset of every key.
fn to_json(table: &DeTable<'_>, seen: &mut dyn FnMut(String, usize), path: &str) -> Value {
    let mut object = Map::new();
    for (key, value) in table {
        let name = key.get_ref().to_string();
        let path = check::join(path, &name);
        seen(path.clone(), key.span().start);
        object.insert(name, value_to_json(value, seen, &path));
    }
    Value::Object(object)
}

fn value_to_json(value: &Spanned<DeValue<'_>>, seen: &mut dyn FnMut(String, usize), path: &str) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str();
            i64::from_str_radix(digits, number.radix())
                .map(Value::from)
                .or_else(|_| u64::from_str_radix(digits, number.radix()).map(Value::from))
                .unwrap_or(Value::Null)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => {
            let mut array = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                seen(path.clone(), item.span().start);
                array.push(value_to_json(item, seen, &path));
            }
            Value::Array(array)
        }
        DeValue::Table(table) => to_json(table, seen, path),
    }
}

fn at_line(name: &str, text: &str, offset: usize) -> String {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    format!("{name}:{line}")
}
