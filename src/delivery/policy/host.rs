//! Hosts as routes name them and as requests bring them.

use std::{borrow::Cow, cmp::Ordering, fmt};

/// Which hosts a route is for. More particular ones are greater.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HostPattern {
    #[default]
    Any,
    /// `*.example.com`, kept as `.example.com`: all names below, not `example.com` itself.
    Below(Box<str>),
    Exactly(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a host name such as media.example.com, an address, or *.example.com, without a port")]
pub struct BadHost;

impl HostPattern {
    /// Empty: any.
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        if text.is_empty() {
            return Ok(Self::Any);
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let good = match address {
            Some(address) => name == text && address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => name.len() <= 253 && name.split('.').all(label),
        };
        let lower = name.to_ascii_lowercase();
        match (good, name == text) {
            (false, _) => Err(BadHost),
            (true, true) => Ok(Self::Exactly(lower.into())),
            (true, false) => Ok(Self::Below(format!(".{lower}").into())),
        }
    }

    /// `host` as [`normal`] gives it.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
            Self::Exactly(name) => host == &**name,
        }
    }

    pub fn is_any(&self) -> bool {
        *self == Self::Any
    }

    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Below(suffix) => (1, suffix.len()),
            Self::Exactly(_) => (2, 0),
        }
    }

    pub fn cmp_particularity(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// As it stands in front of keys: empty for any.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Below(suffix) => write!(f, "*{suffix}"),
            Self::Exactly(name) => f.write_str(name),
        }
    }
}

/// The name in a `Host` field: lower case, without port and closing dot.
pub fn normal(field: &str) -> Cow<'_, str> {
    let name = match field.find(']') {
        Some(end) => &field[..=end],
        None => field.split(':').next().unwrap_or_default(),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_in_one_form() {
        for (field, name) in [
            ("Media.Example", "media.example"),
            ("media.example:8080", "media.example"),
            ("media.example.", "media.example"),
            ("MEDIA.example.:80", "media.example"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(normal(field), name, "{field}");
        }
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, host, expected) in [
            ("", "anything", true),
            ("a.example", "a.example", true),
            ("A.Example", "a.example", true),
            ("a.example", "b.a.example", false),
            ("*.example", "a.example", true),
            ("*.example", "b.a.example", true),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("*.example", "anexample", false),
            ("[::1]", "[::1]", true),
            ("10.0.0.1", "10.0.0.1", true),
        ] {
            assert_eq!(HostPattern::parse(pattern).unwrap().matches(host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in [
            "a.example:80",
            "http://a",
            "a/b",
            "*",
            "a.*.b",
            "*.*.b",
            "a..b",
            ".a",
            "a b",
            "[::g]",
            "*.[::1]",
        ] {
            assert_eq!(HostPattern::parse(bad), Err(BadHost), "{bad}");
        }
    }
}
