//! The configuration reference in Markdown, generated from the schema and the defaults of the raw types.

use std::fmt::Write;

use serde_json::Value;

use super::{Raw, check};

/// One table per section: key, type, default, description (from the doc comments).
pub fn reference<R: Raw>(title: &str) -> String {
    let schema = schemars::schema_for!(R).to_value();
    let defaults = serde_json::to_value(R::default()).unwrap_or(Value::Null);
    let mut out = format!("# {title}\n");
    section("", "", &schema, &schema, &defaults, &mut out);
    out
}

fn section(path: &str, heading: &str, node: &Value, root: &Value, defaults: &Value, out: &mut String) {
    let Some(properties) = node["properties"].as_object() else { return };
    let is_table = |schema: &Value| schema["properties"].is_object();
    let leaves: Vec<_> = properties
        .iter()
        .map(|(key, raw)| (key, raw, check::resolve(raw, root)))
        .filter(|(_, _, schema)| !is_table(schema) && !is_table(check::resolve(&schema["items"], root)))
        .collect();
    if !heading.is_empty() {
        let _ = write!(out, "\n## `{heading}`\n");
    }
    if !leaves.is_empty() {
        if let Some(text) = node["description"].as_str().filter(|_| !path.is_empty()) {
            let _ = write!(out, "\n{}\n", text.replace('\n', " "));
        }
        out.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
    }
    for (key, raw, schema) in &leaves {
        let meaning = raw["description"].as_str().or(schema["description"].as_str()).unwrap_or("");
        let kind = match check::words(schema, root) {
            Some(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
            None if check::kind(schema) == "array" => {
                format!("array of {}", check::kind(check::resolve(&schema["items"], root)))
            }
            None => check::kind(schema).to_owned(),
        };
        let default = defaults.get(key.as_str()).filter(|value| !value.is_null());
        let default = default.map_or(String::new(), |value| format!("`{value}`"));
        let _ = writeln!(out, "| `{key}` | {kind} | {default} | {} |", meaning.replace('\n', " "));
    }
    for (key, raw) in properties {
        let schema = check::resolve(raw, root);
        let items = check::resolve(&schema["items"], root);
        let path = check::join(path, key);
        if is_table(schema) {
            section(&path, &format!("[{path}]"), schema, root, &defaults[key], out);
        } else if is_table(items) {
            let item = items["properties"].as_object().into_iter().flatten();
            let defaults = item.map(|(key, schema)| (key.clone(), schema["default"].clone())).collect();
            section(&path, &format!("[[{path}]]"), items, root, &Value::Object(defaults), out);
        }
    }
}
