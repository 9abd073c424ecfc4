//! Who may get what, as routes say. Whether somebody is such a one is for others to judge.

use http::HeaderMap;

use super::{dialect::Located, pipeline::Delivery, policy, request::Target};

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
        self.core.policies.are_public()
    }

    /// Of what is made of a source, its source's; and of what is passed on as it is, that of its own path.
    pub fn access(&self, target: &Target, headers: &HeaderMap) -> Access {
        let policies = &self.core.policies;
        if policies.are_public() {
            return Access::Public;
        }
        let host = policy::host_of(headers);
        let of = |path: &str| policies.of(host, path).rules.access;
        let source = Located::of(target).map_or(Access::Public, |located| of(located.source.path()));
        source.max(of(target.path()))
    }
}
