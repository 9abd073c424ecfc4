//! From a request target to the key of an object.

use super::super::path::{Refusal, segments};

/// No object has a longer key.
const MAX_KEY_BYTES: usize = 1024;

/// `None` is a well-formed path that cannot name an object. `/` above all: asked for nothing, a bucket lists its keys.
pub(super) fn of(prefix: &str, target: &str) -> Result<Option<String>, Refusal> {
    let path = segments(target)?.join("/");
    if path.is_empty() {
        return Ok(None);
    }
    let key = if prefix.is_empty() { path } else { format!("{prefix}/{path}") };
    Ok((key.len() <= MAX_KEY_BYTES).then_some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_keys_below_the_prefix() {
        for (prefix, target, key) in [
            ("", "/a.jpg", "a.jpg"),
            ("", "/a/b%20c/%C3%A9+d%2B.png?w=1", "a/b c/é+d+.png"),
            ("", "/100%25%3F%23", "100%?#"),
            ("", "/a%252Fb", "a%2Fb"),
            ("", "/a//b", "a//b"),
            ("", "//a", "/a"),
            ("", "/folder/", "folder/"),
            ("p q/%41", "/a", "p q/%41/a"),
        ] {
            assert_eq!(of(prefix, target), Ok(Some(key.to_owned())), "{target}");
        }
    }

    #[test]
    fn the_bucket_itself_is_not_to_be_had() {
        for (prefix, target) in [("", "/"), ("", "/?list-type=2"), ("p", "/"), ("p", "/?prefix=x")] {
            assert_eq!(of(prefix, target), Ok(None), "{target}");
        }
        assert_eq!(of("", &format!("/{}", "k".repeat(1025))), Ok(None));
    }

    #[test]
    fn no_target_leaves_the_prefix() {
        for (target, refusal) in [
            ("", Refusal::NotAbsolute),
            ("/../x", Refusal::DotSegment),
            ("/a/%2e%2e/x", Refusal::DotSegment),
            ("/a%2Fb", Refusal::Character),
            ("/a%5Cb", Refusal::Character),
            ("/%00", Refusal::Character),
            ("/%ff", Refusal::Utf8),
            ("/%zz", Refusal::PercentEncoding),
        ] {
            assert_eq!(of("p", target), Err(refusal), "{target}");
        }
    }
}
