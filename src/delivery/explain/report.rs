//! An explanation as the admin API gives it.

use schemars::JsonSchema;
use serde::Serialize;

#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Explanation {
    pub request: Asked,
    pub verdict: Verdict,
    /// All of them together would make it a hit. Empty when it is one, or nothing of the kind would help.
    pub smallest_change: Vec<Fix>,
    /// Each of them alone would do as well.
    pub alternatives: Vec<Fix>,
    pub route: Route,
    pub key: Key,
    pub object: Option<Object>,
    pub variants: Option<Variants>,
    pub purges: Vec<Purge>,
    pub last_fill: Option<LastFill>,
    pub storability: Vec<Step>,
    pub freshness: Vec<Step>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// Of a derived object: what it is made of.
    pub source: Option<Box<Explanation>>,
}

#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
}

/// What would become of the request now, in the words of `X-Cache`, `Cache-Status` and the metrics.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Verdict {
    pub outcome: &'static str,
    pub reason: &'static str,
    pub because: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema, PartialEq, Eq)]
pub struct Fix {
    /// `client`, `origin`, `config` or `nobody`.
    pub who: &'static str,
    /// What is to be done, as a word.
    pub what: &'static str,
    pub how: String,
}

#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Route {
    /// Of the configuration.
    pub name: String,
    pub kind: &'static str,
    pub template: &'static str,
    /// What is asked of the origins.
    pub source: String,
}

#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Key {
    pub text: String,
    pub hash: String,
    pub parts: Vec<(&'static str, String)>,
}

/// What the store holds for this request.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Object {
    pub tiers: Vec<&'static str>,
    pub status: u16,
    pub length: u64,
    /// Of an object in several blocks: how many there are, and how many are held.
    pub blocks: Option<(u64, u64)>,
    pub age_secs: i64,
    pub ttl_secs: i64,
    pub hidden_by_purge: bool,
    pub fields: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Variants {
    /// The request fields by which they are told apart.
    pub by: Vec<String>,
    /// What this request says in them.
    pub asked: Vec<(String, Option<String>)>,
    /// That were stored lately, the latest first.
    pub known: Vec<Variant>,
}

#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Variant {
    /// None: it is not there any more.
    pub tiers: Vec<&'static str>,
    pub secs_ago: i64,
    /// Field, its value there, its value in this request.
    pub differs: Vec<(String, Option<String>, Option<String>)>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Purge {
    pub sequence: u64,
    pub soft: bool,
    pub named: String,
}

/// The last time that an origin was asked for it since the server started.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct LastFill {
    pub secs_ago: i64,
    /// `stored`, `refused` or `failed`.
    pub became: &'static str,
    pub reason: Option<&'static str>,
    /// Fields of the request that may have mattered.
    pub asked_with: Vec<&'static str>,
    pub origin: Option<String>,
    pub status: Option<u16>,
    pub fields: Vec<(String, String)>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Step {
    pub what: &'static str,
    pub value: String,
    /// Whether it speaks for a hit, where it speaks for anything.
    pub good: Option<bool>,
    pub because: Option<String>,
}

impl Fix {
    pub fn new(who: &'static str, what: &'static str, how: impl Into<String>) -> Self {
        Self { who, what, how: how.into() }
    }
}

impl Step {
    pub fn new(what: &'static str, value: impl Into<String>) -> Self {
        Self { what, value: value.into(), good: None, because: None }
    }

    pub fn good(self, good: bool) -> Self {
        Self { good: Some(good), ..self }
    }

    pub fn because(self, because: impl Into<Option<String>>) -> Self {
        Self { because: because.into(), ..self }
    }
}
