//! Layered configuration: built-in defaults < TOML file < environment < flags.
//!
//! The JSON schema that `schemars` derives from the raw types drives everything: unknown keys are refused with a
//! suggestion, wrong types are named with their line, and the reference is generated. All faults are reported at
//! once. What the values mean is checked by whoever resolves them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

mod check;
mod layer;
mod reference;

pub use layer::Layer;
pub use reference::reference;

/// Raw settings as a user writes them: every field has a default.
pub trait Raw: Serialize + DeserializeOwned + Default + JsonSchema {}

impl<T: Serialize + DeserializeOwned + Default + JsonSchema> Raw for T {}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `millrace.toml:12`, `MILLRACE__CACHE__MEMORY` or `--memory`; empty when the place is not known.
    pub place: String,
    /// Dotted path of the key, `cache.memory`.
    pub key: String,
    pub message: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    pub fn push(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault { place: String::new(), key: key.into(), message: message.into() });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `Ok(value)` when nothing was found wrong.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Merges the layers, later ones winning, over the defaults of `R`.
pub fn load<R: Raw>(layers: &[Layer]) -> Result<R, Faults> {
    let schema = schemars::schema_for!(R).to_value();
    let mut merged = serde_json::to_value(R::default()).unwrap_or(Value::Null);
    let mut faults = Faults::default();
    for layer in layers {
        layer.merge_into(&mut merged, &schema, &mut faults);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    serde_json::from_value(merged).map_err(|reason| {
        let mut faults = Faults::default();
        faults.push("", reason.to_string());
        faults
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Sample {
        cache: Cache,
        origins: Vec<Origin>,
        names: Vec<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Cache {
        /// Bytes kept in memory.
        memory: String,
        workers: u32,
        ratio: f64,
        enabled: bool,
        mode: Mode,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Fast,
        Safe,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Origin {
        name: String,
    }

    impl Default for Cache {
        fn default() -> Self {
            Self { memory: "512MiB".into(), workers: 2, ratio: 0.5, enabled: true, mode: Mode::Fast }
        }
    }

    fn file(text: &str) -> Layer {
        Layer::file("m.toml", text)
    }

    fn faults(layers: &[Layer]) -> Vec<String> {
        load::<Sample>(layers).unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn later_layers_win() {
        let env = Layer::env("MILLRACE", vec![("MILLRACE__CACHE__WORKERS".into(), "8".into())]);
        let set = Layer::flags(vec![("--set".into(), "cache.ratio".into(), "0.25".into())]);
        let loaded: Sample =
            load(&[file("[cache]\nworkers = 4\nmemory = \"1GiB\"\nratio = 1"), env, set]).unwrap();
        assert_eq!(
            loaded.cache,
            Cache { memory: "1GiB".into(), workers: 8, ratio: 0.25, enabled: true, mode: Mode::Fast }
        );
    }

    #[test]
    fn every_fault_is_reported_with_line_and_suggestion() {
        let text = "[cache]\nmemroy = \"1GiB\"\nworkers = \"four\"\nmode = \"quick\"\n[[origins]]\nnme = 1\n[cahce]\n";
        assert_eq!(
            faults(&[file(text)]),
            [
                "m.toml:2: cache.memroy: unknown key; did you mean `memory`?",
                "m.toml:3: cache.workers: expected an integer, found a string",
                "m.toml:4: cache.mode: expected one of `fast`, `safe`",
                "m.toml:6: origins[0].nme: unknown key; did you mean `name`?",
                "m.toml:7: cahce: unknown key; did you mean `cache`?",
            ]
        );
    }

    #[test]
    fn syntax_errors_name_the_line() {
        let found = faults(&[file("[cache]\nworkers = = 4\n")]);
        assert!(found[0].starts_with("m.toml:2: "), "{found:?}");
    }

    #[test]
    fn a_negative_number_is_not_a_count() {
        assert_eq!(faults(&[file("[cache]\nworkers = -1")]), ["m.toml:2: cache.workers: must be at least 0"]);
    }

    #[test]
    fn environment_and_flags_are_checked_too() {
        let env = Layer::env(
            "MILLRACE",
            vec![("MILLRACE__CACHE__WORKERS".into(), "x".into()), ("OTHER__A".into(), "y".into())],
        );
        let set = Layer::flags(vec![
            ("--set".into(), "cache.enabld".into(), "true".into()),
            ("--names".into(), "names".into(), "a,b".into()),
        ]);
        assert_eq!(
            faults(&[env, set]),
            [
                "MILLRACE__CACHE__WORKERS: cache.workers: expected an integer, found \"x\"",
                "--set: cache.enabld: unknown key; did you mean `enabled`?",
            ]
        );
    }

    #[test]
    fn lists_come_comma_separated() {
        let set = Layer::flags(vec![("--names".into(), "names".into(), "a,b".into())]);
        assert_eq!(load::<Sample>(&[set]).unwrap().names, ["a", "b"]);
    }

    #[test]
    fn reference_lists_keys_with_defaults_and_descriptions() {
        let text = reference::<Sample>("Sample");
        assert!(text.contains("| `memory` | string | `\"512MiB\"` | Bytes kept in memory. |"), "{text}");
        assert!(text.contains("## `[[origins]]`"), "{text}");
    }
}
