//! Keys as `Cache-Status` shows them (RFC 9211 §2.7), when operators ask for it: without what might be a secret.

use super::route::Plan;

/// Longer keys are cut off.
const MAX_SHOWN: usize = 512;
/// A parameter with one of these in its name may be what lets its bearer in.
const SECRET: [&str; 12] = [
    "auth",
    "credential",
    "hash",
    "hmac",
    "jwt",
    "key",
    "pass",
    "policy",
    "secret",
    "session",
    "sig",
    "token",
];

/// The value of the parameter `key`, with its quotes.
pub fn shown(plan: &Plan<'_>) -> String {
    let url = plan.url_text();
    let (mut text, work) = masked(&url);
    let by = plan.policy.rules.fields.nominated().join(",");
    for part in [work, &by].into_iter().filter(|part| !part.is_empty()) {
        text.push(' ');
        text.push_str(part);
    }
    // Keys are ASCII, so this cuts no character.
    text.truncate(MAX_SHOWN);
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The text of a stored key, without what tells its variants apart.
pub fn of_text(key: &str) -> String {
    let (mut text, work) = masked(key.split('\n').next().unwrap_or_default());
    if !work.is_empty() {
        text.push(' ');
        text.push_str(work);
    }
    text.chars().take(MAX_SHOWN).collect()
}

/// The address without secrets, and what is made of it.
fn masked(url: &str) -> (String, &str) {
    let (url, work) = url.split_once(' ').unwrap_or((url, ""));
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let mut text = path.to_owned();
    for (number, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        text.push(if number == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                text.push_str(name);
                text.push_str("=***");
            }
            _ => text.push_str(pair),
        }
    }
    (text, work)
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{policy::tests::policies, request::Target};

    #[test]
    fn secrets_are_not_shown() {
        let policies = policies(&[("a.example", "/")]);
        for (host, target, expected) in [
            ("", "/a?b=2&a=1", r#""/a?a=1&b=2""#),
            ("a.example", "/a?X-Amz-Signature=abc&b", r#""a.example/a?X-Amz-Signature=***&b""#),
            ("", "/a?access_token=x&Key-Pair-Id=y&t", r#""/a?Key-Pair-Id=***&access_token=***&t""#),
            ("", "/a\"b", r#""/a\"b""#),
            ("", "/v.mp4/master.m3u8", r#""/v.mp4 video:master.m3u8""#),
        ] {
            let target = Target::parse(target).unwrap();
            assert_eq!(shown(&Plan::of(&target, host, &policies).unwrap()), expected);
        }
        let long = Target::parse(&format!("/{}", "a".repeat(2 * MAX_SHOWN))).unwrap();
        assert_eq!(shown(&Plan::of(&long, "", &policies).unwrap()).len(), MAX_SHOWN + 2);
    }
}
