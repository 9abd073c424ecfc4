//! What a token says, and whether that holds now.

use serde::{Deserialize, Serialize};

use super::grant::{Grant, Scope};

/// The claims that count (RFC 7519; `scope` as in RFC 8693). Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Without an end, a token is not good.
    pub exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Words with spaces between them; those that mean nothing here are passed over.
    #[serde(default)]
    pub scope: String,
    /// Path below which it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Several(Vec<String>),
}

/// What the settings want of all tokens.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub issuer: Option<String>,
    /// Where none is wanted, a token that names one is for somebody else.
    pub audience: Option<String>,
    /// How far clocks may differ.
    pub leeway_secs: i64,
}

impl Claims {
    /// None: it does not hold.
    pub(super) fn grant(self, wanted: &Wanted, now: i64) -> Option<Grant> {
        let leeway = wanted.leeway_secs;
        let over = self.exp.saturating_add(leeway) <= now;
        let early = |time: Option<i64>| time.is_some_and(|time| time.saturating_sub(leeway) > now);
        let issued = wanted.issuer.is_none() || self.iss == wanted.issuer;
        let meant = match (&wanted.audience, &self.aud) {
            (None, None) => true,
            (Some(wanted), Some(Audience::One(named))) => named == wanted,
            (Some(wanted), Some(Audience::Several(named))) => named.contains(wanted),
            _ => false,
        };
        if over || early(self.nbf) || early(self.iat) || !issued || !meant {
            return None;
        }
        let scopes = self.scope.split(' ').filter_map(|word| word.parse::<Scope>().ok()).collect();
        Some(Grant::new(self.sub.unwrap_or_default(), scopes, self.prefix))
    }
}
