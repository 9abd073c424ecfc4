//! What templates compute with, and how Go prints, tests and compares it.

use std::{cmp::Ordering, collections::BTreeMap};

use super::number;
use crate::{model::Labels, promql::VectorSample};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    /// Of texts: an absent key has the empty text.
    Labels(BTreeMap<String, Value>),
    /// Of anything: an absent key is nil.
    Map(BTreeMap<String, Value>),
    /// Only its own fields can be asked for.
    Struct(BTreeMap<&'static str, Value>),
}

impl Value {
    pub(super) fn labels(labels: &Labels) -> Self {
        let pairs = labels.iter().map(|label| (label.name.to_string(), Self::Text(label.value.to_string())));
        Self::Labels(pairs.collect())
    }

    pub(super) fn sample(sample: &VectorSample) -> Self {
        Self::Struct(BTreeMap::from([
            ("Labels", Self::labels(&sample.labels)),
            ("Value", Self::Float(sample.sample.value)),
        ]))
    }

    pub(super) fn field(&self, name: &str) -> Result<Self, String> {
        match self {
            Self::Labels(map) => Ok(map.get(name).cloned().unwrap_or(Self::Text(String::new()))),
            Self::Map(map) => Ok(map.get(name).cloned().unwrap_or(Self::Nil)),
            Self::Struct(fields) => {
                fields.get(name).cloned().ok_or_else(|| format!("can't evaluate field {name}"))
            }
            Self::Nil => Err(format!("nil data; no entry for key {name:?}")),
            other => Err(format!("can't evaluate field {name} in type {}", other.kind())),
        }
    }

    /// As `if` sees it: false for the empty value of each kind.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Labels(map) | Self::Map(map) => !map.is_empty(),
            Self::Struct(_) => true,
        }
    }

    /// Go's name of the type.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "template.queryResult",
            Self::Labels(_) => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Struct(_) => "*template.sample",
        }
    }

    /// As `%v` prints it.
    pub(super) fn text(&self) -> String {
        let joined = |items: Vec<String>| items.join(" ");
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(flag) => flag.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => number::shortest(*number),
            Self::Text(text) => text.clone(),
            Self::List(items) => format!("[{}]", joined(items.iter().map(Self::text).collect())),
            Self::Labels(map) | Self::Map(map) => {
                let pairs = map.iter().map(|(name, value)| format!("{name}:{}", value.text()));
                format!("map[{}]", joined(pairs.collect()))
            }
            Self::Struct(fields) => {
                let open = if fields.len() == 2 { "&{" } else { "{" };
                format!("{open}{}}}", joined(fields.values().map(Self::text).collect()))
            }
        }
    }

    /// For the functions that take any number, also as text.
    pub(super) fn number(&self) -> Result<f64, String> {
        match self {
            Self::Float(number) => Ok(*number),
            Self::Int(number) => Ok(*number as f64),
            Self::Text(text) => text.parse().map_err(|_| format!("parsing {text:?}: invalid syntax")),
            other => Err(format!("can't convert {} to float", other.kind())),
        }
    }

    pub(super) fn as_text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(format!("wrong type for value; expected string; got {}", other.kind())),
        }
    }

    pub(super) fn as_list(&self) -> Result<&[Self], String> {
        match self {
            Self::List(items) => Ok(items),
            other => Err(format!("wrong type for value; expected a query result; got {}", other.kind())),
        }
    }

    pub(super) fn len(&self) -> Result<usize, String> {
        match self {
            Self::Text(text) => Ok(text.len()),
            Self::List(items) => Ok(items.len()),
            Self::Labels(map) | Self::Map(map) => Ok(map.len()),
            other => Err(format!("len of type {}", other.kind())),
        }
    }

    /// Of values of one basic kind; `1` and `1.0` are not of one kind.
    pub(super) fn compare(&self, other: &Self) -> Result<Option<Ordering>, String> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Ok(Some(a.cmp(b))),
            (Self::Int(a), Self::Int(b)) => Ok(Some(a.cmp(b))),
            (Self::Float(a), Self::Float(b)) => Ok(a.partial_cmp(b)),
            (Self::Text(a), Self::Text(b)) => Ok(Some(a.cmp(b))),
            (Self::Nil, Self::Nil) => Ok(Some(Ordering::Equal)),
            _ => Err("incompatible types for comparison".to_owned()),
        }
    }
}
