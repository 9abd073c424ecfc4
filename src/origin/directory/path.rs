//! From a request target to the names of a file below the root.

use super::super::path::{Refusal, segments};

/// Names to walk from the root: at least one, each non-empty, without `/`, `\` and NUL, and neither `.` nor `..`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilePath {
    directories: Vec<String>,
    file: String,
}

impl FilePath {
    pub(super) fn directories(&self) -> &[String] {
        &self.directories
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Empty for none; `.profile` has none.
    pub(super) fn extension(&self) -> &str {
        match self.file.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => extension,
            _ => "",
        }
    }
}

/// `None` is a well-formed path that cannot name a file: one with an empty segment, `/` above all.
pub(super) fn decode(target: &str) -> Result<Option<FilePath>, Refusal> {
    let mut names = segments(target)?;
    if names.iter().any(String::is_empty) {
        return Ok(None);
    }
    Ok(names.pop().map(|file| FilePath { directories: names, file }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_what_names_a_file() {
        for (target, names, extension) in [
            ("/a.jpg", "a.jpg", "jpg"),
            ("/a/b/c.tar.gz", "a/b/c.tar.gz", "gz"),
            ("/a%20b/%C3%A9.png?w=1&x=/../y", "a b/é.png", "png"),
            ("/é", "é", ""),
            ("/...", "...", ""),
            ("/..a/.b", "..a/.b", ""),
            ("/a%3fb%23c", "a?b#c", ""),
            ("/a;b=c+d", "a;b=c+d", ""),
            ("/C:", "C:", ""),
        ] {
            let path = decode(target).unwrap().unwrap();
            let mut walked = path.directories().to_vec();
            walked.push(path.file().to_owned());
            assert_eq!(walked.join("/"), names, "{target}");
            assert_eq!(path.extension(), extension, "{target}");
        }
    }

    #[test]
    fn empty_segments_name_no_file() {
        for target in ["/", "//", "//etc/passwd", "/a/", "/a//b", "/?x"] {
            assert_eq!(decode(target), Ok(None), "{target}");
        }
    }

    #[test]
    fn refuses_second_meanings() {
        for (target, refusal) in [
            ("", Refusal::NotAbsolute),
            ("a", Refusal::NotAbsolute),
            ("/../etc/passwd", Refusal::DotSegment),
            ("/a/..", Refusal::DotSegment),
            ("/%2e%2e/x", Refusal::DotSegment),
            ("/.%2E/x", Refusal::DotSegment),
            ("/.//..//", Refusal::DotSegment),
            ("/./a", Refusal::DotSegment),
            ("/..%2f", Refusal::Character),
            ("/a%2Fb", Refusal::Character),
            ("/..%5c", Refusal::Character),
            ("/\\..\\", Refusal::Character),
            ("/a%00.jpg", Refusal::Character),
            ("/a\0.jpg", Refusal::Character),
            ("/a#b", Refusal::Character),
            ("/%c0%af", Refusal::Utf8),
            ("/%ff", Refusal::Utf8),
            ("/%zz", Refusal::PercentEncoding),
            ("/%2", Refusal::PercentEncoding),
            ("/%", Refusal::PercentEncoding),
            ("/%+1", Refusal::PercentEncoding),
        ] {
            assert_eq!(decode(target), Err(refusal), "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_ever_leaves_its_directory(target in "(/|\\.|%2e|%2F|%5c|%00|\\\\|a|%41|é|\\?){0,12}") {
            if let Ok(Some(path)) = decode(&target) {
                for name in path.directories().iter().map(String::as_str).chain([path.file()]) {
                    prop_assert!(!name.is_empty() && name != "." && name != "..");
                    prop_assert!(!name.contains(['/', '\\', '\0']));
                }
            }
        }
    }
}
