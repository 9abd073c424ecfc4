//! The functions of templates: those of Prometheus, and those that Go's `text/template` brings.

use std::{cmp::Ordering, collections::BTreeMap, net::IpAddr};

use regex::Regex;

use super::{Data, format, number, value::Value};
use crate::model::time::rfc3339;

#[derive(Clone, Copy)]
pub(super) enum Function {
    /// `and` (false) and `or` (true), which need not evaluate all their arguments.
    Decides(bool),
    Of {
        name: &'static str,
        least: usize,
        most: usize,
        run: Body,
    },
}

type Body = fn(Data<'_>, &[Value]) -> Result<Value, String>;

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Decides(on) => write!(f, "{}", if *on { "or" } else { "and" }),
            Self::Of { name, .. } => f.write_str(name),
        }
    }
}

impl Function {
    pub(super) fn call(&self, data: Data<'_>, values: Vec<Value>) -> Result<Value, String> {
        let Self::Of { name, least, most, run } = self else {
            return Err("wrong number of args: want at least 1 got 0".to_owned());
        };
        if !(*least..=*most).contains(&values.len()) {
            let bound = if least == most { "want" } else { "want at least" };
            return Err(format!("wrong number of args for {name}: {bound} {least} got {}", values.len()));
        }
        run(data, &values).map_err(|reason| format!("error calling {name}: {reason}"))
    }
}

pub(super) fn find(name: &str) -> Option<Function> {
    const ANY: usize = usize::MAX;
    let known: (&'static str, usize, usize, Body) = match name {
        "and" => return Some(Function::Decides(false)),
        "or" => return Some(Function::Decides(true)),
        "humanize" => ("humanize", 1, 1, |_, v| text(number::humanize(v[0].number()?))),
        "humanize1024" => ("humanize1024", 1, 1, |_, v| text(number::humanize1024(v[0].number()?))),
        "humanizeDuration" => {
            ("humanizeDuration", 1, 1, |_, v| text(number::humanize_duration(v[0].number()?)))
        }
        "humanizePercentage" => {
            ("humanizePercentage", 1, 1, |_, v| text(number::humanize_percentage(v[0].number()?)))
        }
        "humanizeTimestamp" => ("humanizeTimestamp", 1, 1, |_, v| timestamp(v[0].number()?)),
        "toUpper" => ("toUpper", 1, 1, |_, v| text(v[0].as_text()?.to_uppercase())),
        "toLower" => ("toLower", 1, 1, |_, v| text(v[0].as_text()?.to_lowercase())),
        "title" => ("title", 1, 1, |_, v| text(title(v[0].as_text()?))),
        "match" => ("match", 2, 2, |_, v| Ok(Value::Bool(regex(&v[0])?.is_match(v[1].as_text()?)))),
        "reReplaceAll" => ("reReplaceAll", 3, 3, |_, v| {
            text(regex(&v[0])?.replace_all(v[2].as_text()?, v[1].as_text()?).into_owned())
        }),
        "stripPort" => ("stripPort", 1, 1, |_, v| {
            let whole = v[0].as_text()?;
            text(host_and_port(whole).map_or(whole, |(host, _)| host).to_owned())
        }),
        "stripDomain" => ("stripDomain", 1, 1, |_, v| text(strip_domain(v[0].as_text()?))),
        "safeHtml" => ("safeHtml", 1, 1, |_, v| text(v[0].as_text()?.to_owned())),
        "parseDuration" => ("parseDuration", 1, 1, |_, v| {
            let written = v[0].as_text()?;
            let parsed = crate::promql::parse_duration(written);
            let parsed = parsed.ok_or_else(|| format!("not a valid duration string: {written:?}"))?;
            Ok(Value::Float(parsed.as_secs_f64()))
        }),
        "urlQueryEscape" => ("urlQueryEscape", 1, 1, |_, v| text(escaped(v[0].as_text()?))),
        "graphLink" => {
            ("graphLink", 1, 1, |_, v| text(format!("/graph?g0.expr={}&g0.tab=0", escaped(v[0].as_text()?))))
        }
        "tableLink" => {
            ("tableLink", 1, 1, |_, v| text(format!("/graph?g0.expr={}&g0.tab=1", escaped(v[0].as_text()?))))
        }
        "externalURL" => ("externalURL", 0, 0, |data, _| text(data.context.external_url.clone())),
        "pathPrefix" => ("pathPrefix", 0, 0, |data, _| {
            let path = url::Url::parse(&data.context.external_url).map(|url| url.path().to_owned());
            text(path.map_or_else(|_| String::new(), |path| path.trim_end_matches('/').to_owned()))
        }),
        "query" => ("query", 1, 1, |data, v| {
            let samples = (data.query)(v[0].as_text()?)?;
            Ok(Value::List(samples.iter().map(Value::sample).collect()))
        }),
        "first" => ("first", 1, 1, |_, v| {
            let first = v[0].as_list()?.first().cloned();
            first.ok_or_else(|| "first() called on vector with no elements".to_owned())
        }),
        "label" => ("label", 2, 2, |_, v| v[1].field("Labels")?.field(v[0].as_text()?)),
        "value" => ("value", 1, 1, |_, v| v[0].field("Value")),
        "strvalue" => ("strvalue", 1, 1, |_, v| v[0].field("Labels")?.field("__value__")),
        "sortByLabel" => ("sortByLabel", 2, 2, |_, v| {
            let (label, mut items) = (v[0].as_text()?, v[1].as_list()?.to_vec());
            let key = |item: &Value| item.field("Labels").and_then(|labels| labels.field(label));
            items.sort_by_cached_key(|item| key(item).map(|value| value.text()).unwrap_or_default());
            Ok(Value::List(items))
        }),
        "args" => ("args", 0, ANY, |_, v| {
            let pairs = v.iter().enumerate().map(|(index, value)| (format!("arg{index}"), value.clone()));
            Ok(Value::Map(pairs.collect::<BTreeMap<_, _>>()))
        }),
        "not" => ("not", 1, 1, |_, v| Ok(Value::Bool(!v[0].is_true()))),
        "len" => ("len", 1, 1, |_, v| Ok(Value::Int(v[0].len()? as i64))),
        "index" => ("index", 1, ANY, |_, v| v[1..].iter().try_fold(v[0].clone(), |of, at| index(&of, at))),
        "slice" => ("slice", 1, 3, |_, v| slice(v)),
        "print" => ("print", 0, ANY, |_, v| text(format::print(v))),
        "println" => ("println", 0, ANY, |_, v| text(format::println(v))),
        "printf" => ("printf", 1, ANY, |_, v| text(format::printf(v[0].as_text()?, &v[1..]))),
        "html" => ("html", 0, ANY, |_, v| text(html(&format::print(v)))),
        "js" => ("js", 0, ANY, |_, v| text(js(&format::print(v)))),
        "urlquery" => ("urlquery", 0, ANY, |_, v| text(escaped(&format::print(v)))),
        "eq" => ("eq", 2, ANY, |_, v| {
            let mut equal = false;
            for other in &v[1..] {
                equal |= v[0].compare(other)? == Some(Ordering::Equal);
            }
            Ok(Value::Bool(equal))
        }),
        "ne" => ("ne", 2, 2, |_, v| Ok(Value::Bool(v[0].compare(&v[1])? != Some(Ordering::Equal)))),
        "lt" => ("lt", 2, 2, |_, v| ordered(v, |order| order == Ordering::Less)),
        "le" => ("le", 2, 2, |_, v| ordered(v, |order| order != Ordering::Greater)),
        "gt" => ("gt", 2, 2, |_, v| ordered(v, |order| order == Ordering::Greater)),
        "ge" => ("ge", 2, 2, |_, v| ordered(v, |order| order != Ordering::Less)),
        _ => return None,
    };
    let (name, least, most, run) = known;
    Some(Function::Of { name, least, most, run })
}

fn text(text: String) -> Result<Value, String> {
    Ok(Value::Text(text))
}

fn ordered(values: &[Value], holds: fn(Ordering) -> bool) -> Result<Value, String> {
    if matches!(values[0], Value::Bool(_) | Value::Nil) {
        return Err("invalid type for comparison".to_owned());
    }
    Ok(Value::Bool(values[0].compare(&values[1])?.is_some_and(holds)))
}

fn regex(pattern: &Value) -> Result<Regex, String> {
    let builder = regex::RegexBuilder::new(pattern.as_text()?).size_limit(1 << 20).build();
    builder.map_err(|reason| reason.to_string())
}

/// As Go prints a time in UTC.
fn timestamp(seconds: f64) -> Result<Value, String> {
    if !seconds.is_finite() {
        return text(number::four_digits(seconds));
    }
    if seconds.abs() > 9.2e9 {
        return Err(format!("{seconds} cannot be represented as a nanoseconds timestamp"));
    }
    let nanos = (seconds * 1e9) as i64;
    let written = rfc3339(nanos.div_euclid(1_000_000_000) * 1000);
    let fraction = match nanos.rem_euclid(1_000_000_000) {
        0 => String::new(),
        rest => format!(".{rest:09}").trim_end_matches('0').to_owned(),
    };
    text(format!("{}{fraction} +0000 UTC", written.trim_end_matches('Z').replace('T', " ")))
}

fn title(words: &str) -> String {
    let mut inside = false;
    let mut titled = String::with_capacity(words.len());
    for c in words.chars() {
        let letter = c.is_alphanumeric() || matches!(c, '_' | '\'');
        match letter && !inside {
            true => titled.extend(c.to_uppercase()),
            false => titled.push(c),
        }
        inside = letter;
    }
    titled
}

/// `host:port` or `[v6]:port`.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return Some((host, port.strip_prefix(':')?));
    }
    let (host, port) = text.rsplit_once(':')?;
    (!host.contains(':')).then_some((host, port))
}

fn strip_domain(whole: &str) -> String {
    let (host, port) = host_and_port(whole).map_or((whole, None), |(host, port)| (host, Some(port)));
    if host.parse::<IpAddr>().is_ok() {
        return whole.to_owned();
    }
    let short = host.split('.').next().unwrap_or(host);
    port.map_or_else(|| short.to_owned(), |port| format!("{short}:{port}"))
}

fn escaped(query: &str) -> String {
    url::form_urlencoded::byte_serialize(query.as_bytes())
        .collect::<String>()
        .replace('*', "%2A")
        .replace("%7E", "~")
}

fn index(of: &Value, at: &Value) -> Result<Value, String> {
    match (of, at) {
        (Value::List(items), Value::Int(at)) => {
            let item = usize::try_from(*at).ok().and_then(|at| items.get(at).cloned());
            item.ok_or_else(|| format!("index out of range: {at}"))
        }
        (Value::Text(text), Value::Int(at)) => {
            let byte = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at).copied());
            byte.map(|byte| Value::Int(i64::from(byte))).ok_or_else(|| format!("index out of range: {at}"))
        }
        (Value::Labels(_) | Value::Map(_), Value::Text(name)) => of.field(name),
        (Value::Nil, _) => Err("index of untyped nil".to_owned()),
        _ => Err(format!("can't index item of type {}", of.kind())),
    }
}

fn slice(values: &[Value]) -> Result<Value, String> {
    let bound = |place: usize, default: usize| match values.get(place) {
        None => Ok(default),
        Some(Value::Int(at)) => usize::try_from(*at).map_err(|_| format!("index out of range: {at}")),
        Some(other) => Err(format!("cannot index slice/array with type {}", other.kind())),
    };
    let length = values[0].len()?;
    let (from, to) = (bound(1, 0)?, bound(2, length)?);
    let range = Some(from..to).filter(|_| from <= to && to <= length);
    let range = range.ok_or_else(|| format!("index out of range: {to}"))?;
    match &values[0] {
        Value::Text(whole) => {
            text(whole.get(range).ok_or_else(|| "index within a character".to_owned())?.to_owned())
        }
        Value::List(items) => Ok(Value::List(items[range].to_vec())),
        other => Err(format!("can't slice item of type {}", other.kind())),
    }
}

fn html(text: &str) -> String {
    let escape = |c: char| match c {
        '"' => "&#34;".to_owned(),
        '\'' => "&#39;".to_owned(),
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '\0' => "\u{fffd}".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}

fn js(text: &str) -> String {
    let escape = |c: char| match c {
        '\\' => "\\\\".to_owned(),
        '\'' => "\\'".to_owned(),
        '"' => "\\\"".to_owned(),
        '<' | '>' | '&' | '=' | '\0'..' ' => format!("\\u{:04X}", u32::from(c)),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}
