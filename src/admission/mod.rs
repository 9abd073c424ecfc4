//! Who may do what: tokens of operators and services, checked against keys that the settings pin to one algorithm each. And
//! how much and how fast: [`rate`], [`load`], of the [`client`] that it is. Knows neither HTTP connections nor what is protected.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, header};
use millrace_kit::clock::Clock;

mod claims;
pub mod client;
mod grant;
mod key;
pub mod load;
pub mod rate;
mod signature;

pub use claims::{Audience, Claims, Wanted};
pub use grant::{Grant, Scope, is_below};
pub use key::{BadKey, Key, Keyring, Secret};
pub use signature::{IN_FRONT, Signature};

/// Longer ones are not looked at.
const MAX_TOKEN: usize = 4096;

#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The token of the settings, which may do everything.
    pub operator: millrace_kit::secret::Secret,
    pub keys: Keyring,
    pub wanted: Wanted,
}

/// Why a request may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("this server has neither a token nor keys for tokens in its settings, so nobody is let in")]
    Closed,
    #[error("this wants `Authorization: Bearer` with a token")]
    Missing,
    /// No word of what is wrong with it: that would help those who forge.
    #[error("this token is not good, or not any more")]
    Invalid,
    #[error("this token is not for `{}`", .0.as_str())]
    Scope(Scope),
    #[error("this token is for other paths")]
    Path(Scope),
    #[error("this wants an address with a signature, which is for it and not over")]
    Signature,
}

/// The doorkeeper.
pub struct Admission {
    config: ArcSwap<Config>,
    clock: Clock,
}

impl Admission {
    pub fn new(config: Config, clock: Clock) -> Self {
        Self { config: ArcSwap::from_pointee(config), clock }
    }

    /// Whom to let in from now on.
    pub fn change(&self, config: Config) {
        self.config.store(Arc::new(config));
    }

    /// Whether tokens can be made at all for this server.
    pub fn has_keys(&self) -> bool {
        !self.config.load().keys.is_empty()
    }

    /// Lets in who carries a token that has the scope, for this path in normal form.
    pub fn admit(&self, headers: &HeaderMap, scope: Scope, path: &str) -> Result<Grant, Denied> {
        let grant = self.identify(headers)?;
        grant.check(scope, path)?;
        Ok(grant)
    }

    /// Who carries which token, whatever it is good for. It counts only as the one `Authorization` field.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Grant, Denied> {
        let config = self.config.load();
        if !config.operator.is_set() && config.keys.is_empty() {
            return Err(Denied::Closed);
        }
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        let line = match (lines.next(), lines.next()) {
            (None, _) => return Err(Denied::Missing),
            (Some(line), None) => line,
            (Some(_), Some(_)) => return Err(Denied::Invalid),
        };
        let token = bearer(line).ok_or(Denied::Missing)?;
        if token.len() > MAX_TOKEN {
            return Err(Denied::Invalid);
        }
        if config.operator.is(token) {
            return Ok(Grant::operator());
        }
        let claims = config.keys.verify(token).ok_or(Denied::Invalid)?;
        let now = self.clock.unix_millis().div_euclid(1000);
        claims.grant(&config.wanted, now).ok_or(Denied::Invalid)
    }
}

fn bearer(line: &HeaderValue) -> Option<&[u8]> {
    let (scheme, given) = line.as_bytes().split_at_checked("bearer ".len())?;
    let given = given.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !given.is_empty()).then_some(given)
}

#[cfg(test)]
mod tests;
