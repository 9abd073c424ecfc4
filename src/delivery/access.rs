//! Who may get what, as routes say. Whether somebody is such a one is for others to judge.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    dialect::{Located, Way},
    pipeline::Delivery,
    policy,
    request::Target,
};
use crate::cache::FieldLines;

/// Operations within operations are looked into so far: an origin behind us may know our ways of asking as well.
const MAX_NESTED: usize = 4;

/// What is wanted of those who ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    #[default]
    Public,
    /// A signed address; or a token, which is more.
    Signed,
    /// A token to read with.
    Token,
}

impl Delivery {
    /// Whether everything is for everybody.
    pub fn is_public(&self) -> bool {
        self.core.router.at_once().policies.are_public()
    }

    /// The `front` of the policy for a request: of what is made of a source, its source's.
    pub fn front(&self, target: &Target, fields: &impl FieldLines) -> Option<Arc<str>> {
        let host = policy::host_of(fields);
        let routing = self.core.router.at_once();
        let of = |path: &str| routing.policies.of(host, path).rules.front.clone();
        Located::of(target).map_or_else(|_| of(target.path()), |located| of(located.source.path()))
    }

    /// Of what is made of a source, its source's; and of what is passed on as it is, that of its own path.
    pub fn access(&self, target: &Target, headers: &HeaderMap) -> Access {
        let routing = self.core.router.at_once();
        let policies = &routing.policies;
        if policies.are_public() {
            return Access::Public;
        }
        let host = policy::host_of(headers);
        let of = |path: &str| {
            let (written, read) = (policies.of(host, path), policies.of_plain(host, path));
            written.rules.access.max(read.rules.access)
        };
        let (mut wanted, mut at) = (of(target.path()), target.clone());
        for _ in 0..MAX_NESTED {
            // What cannot be taken apart is refused later on.
            let Ok(located) = Located::of(&at) else { return wanted };
            if matches!(located.way, Way::AsItIs | Way::Query) {
                return wanted;
            }
            wanted = wanted.max(of(located.source.path()));
            at = located.source;
        }
        policies.strictest()
    }
}
