//! Checks a settings tree against its JSON schema, and turns text into the type that the schema asks for.

use serde_json::Value;

/// Reports (dotted key, message) for everything in `value` that `schema` does not allow.
pub(super) fn check(value: &Value, schema: &Value, fault: &mut dyn FnMut(&str, String)) {
    check_at("", value, schema, schema, fault);
}

fn check_at(path: &str, value: &Value, node: &Value, root: &Value, fault: &mut dyn FnMut(&str, String)) {
    let node = resolve(node, root);
    if let Some(words) = words(node, root) {
        if !value.as_str().is_some_and(|word| words.iter().any(|known| known == word)) {
            fault(path, format!("expected one of {}", list(&words)));
        }
        return;
    }
    match (kind(node), value) {
        ("object", Value::Object(fields)) => {
            for (key, field) in fields {
                let path = join(path, key);
                match child(node, key) {
                    Some(schema) => check_at(&path, field, schema, root, fault),
                    None => fault(&path, unknown(node, key)),
                }
            }
        }
        ("array", Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                check_at(&format!("{path}[{index}]"), item, &node["items"], root, fault);
            }
        }
        ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => {
            let minimum = node["minimum"].as_f64();
            let maximum = node["maximum"].as_f64();
            let number = number.as_f64().unwrap_or(f64::NAN);
            if let Some(minimum) = minimum.filter(|minimum| number < *minimum) {
                fault(path, format!("must be at least {minimum}"));
            } else if let Some(maximum) = maximum.filter(|maximum| number > *maximum) {
                fault(path, format!("must be at most {maximum}"));
            }
        }
        ("number", Value::Number(_))
        | ("string", Value::String(_))
        | ("boolean", Value::Bool(_))
        | ("", _) => {}
        (expected, found) => {
            fault(path, format!("expected {}, found {}", named(expected), found_kind(found)))
        }
    }
}

/// The schema of the value at a dotted key.
pub(super) fn descend<'a>(key: &str, root: &'a Value) -> Result<&'a Value, String> {
    let mut node = resolve(root, root);
    for part in key.split('.') {
        node = resolve(child(node, part).ok_or_else(|| unknown(node, part))?, root);
    }
    Ok(node)
}

/// Reads a flag or variable as the type its schema asks for. Lists are comma-separated.
pub(super) fn from_text(text: &str, node: &Value, root: &Value) -> Result<Value, String> {
    let node = resolve(node, root);
    if let Some(words) = words(node, root) {
        return match words.iter().any(|word| word == text) {
            true => Ok(Value::from(text)),
            false => Err(format!("expected one of {}", list(&words))),
        };
    }
    let wrong = |expected: &str| format!("expected {}, found {text:?}", named(expected));
    let value = match kind(node) {
        "string" | "" => Value::from(text),
        "boolean" => Value::Bool(text.parse().map_err(|_| wrong("boolean"))?),
        "integer" => {
            let digits = text.replace('_', "");
            Value::from(digits.parse::<i64>().map_err(|_| wrong("integer"))?)
        }
        "number" => {
            let number: f64 = text.parse().map_err(|_| wrong("number"))?;
            Value::from(number)
        }
        "array" if text.is_empty() => Value::Array(vec![]),
        "array" => {
            let items = text.split(',').map(|item| from_text(item.trim(), &node["items"], root));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        _ => return Err("is a table; set one of its keys".to_owned()),
    };
    let mut first = None;
    check_at("", &value, node, root, &mut |_, message| {
        first.get_or_insert(message);
    });
    first.map_or(Ok(value), Err)
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Follows `$ref` (also inside the `allOf` and nullable `anyOf` that schemars wraps around one).
pub(super) fn resolve<'a>(node: &'a Value, root: &'a Value) -> &'a Value {
    // Bounded: derived schemas nest references a few levels at most.
    let mut node = node;
    for _ in 0..8 {
        let target = node["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
        let next = target
            .and_then(|pointer| root.pointer(pointer))
            .or_else(|| node["allOf"].get(0))
            .or_else(|| node["anyOf"].as_array()?.iter().find(|option| option["type"] != "null"));
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node
}

/// The type word of a node; of a nullable one, the other word.
pub(super) fn kind(node: &Value) -> &str {
    match &node["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("")
        }
        _ => "",
    }
}

/// The allowed words when the node is an enumeration.
pub(super) fn words(node: &Value, root: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(words) = node["enum"].as_array() {
        return words.iter().map(text).collect();
    }
    let options = node["oneOf"].as_array()?;
    let mut all = Vec::new();
    for option in options {
        let option = resolve(option, root);
        match option["const"].as_str() {
            Some(word) => all.push(word.to_owned()),
            None => all.extend(words(option, root)?),
        }
    }
    Some(all)
}

fn child<'a>(node: &'a Value, key: &str) -> Option<&'a Value> {
    node["properties"]
        .get(key)
        .or_else(|| node.get("additionalProperties").filter(|schema| schema.is_object()))
}

fn unknown(node: &Value, key: &str) -> String {
    let known = node["properties"].as_object().into_iter().flatten().map(|(known, _)| known);
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(known, key), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min();
    match nearest {
        Some((_, nearest)) => format!("unknown key; did you mean `{nearest}`?"),
        None => "unknown key".to_owned(),
    }
}

fn list(words: &[String]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn named(kind: &str) -> &'static str {
    match kind {
        "object" => "a table",
        "array" => "an array",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "a string",
    }
}

fn found_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "an unreadable number",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}
