//! Loop detection (RFC 8586): each forwarded request carries our mark, by which we know it again.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

const FIELD: HeaderName = HeaderName::from_static("cdn-loop");

/// Servers like this one that a request may have passed: tiers of a fleet. A request is not seen twice by the same one.
const MOST: usize = 8;

/// This server's mark.
#[derive(Debug, Clone)]
pub struct CdnLoop(Arc<str>);

impl CdnLoop {
    /// Of a name that no other server has.
    pub fn new(instance: &str) -> Self {
        Self(format!("millrace;id={instance}").into())
    }

    pub fn mark(&self, headers: &mut HeaderMap) {
        if let Ok(mark) = HeaderValue::from_str(&self.0) {
            headers.append(FIELD, mark);
        }
    }

    /// Whether a request has been here, or at too many servers like this one. To wait for ourselves would be to wait for
    /// ever: requests for the same thing share one answer.
    pub fn closes(&self, headers: &HeaderMap) -> bool {
        let marks = headers.get_all(FIELD);
        let marks = marks.iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
        let compact =
            |mark: &[u8]| mark.iter().copied().filter(|byte| !b" \t".contains(byte)).collect::<Vec<_>>();
        let marks: Vec<_> = marks.map(compact).collect();
        let passed = marks.iter().filter(|mark| mark.split(|&byte| byte == b';').next() == Some(b"millrace"));
        passed.count() > MOST || marks.iter().any(|mark| **mark == *self.0.as_bytes())
    }
}

impl Default for CdnLoop {
    fn default() -> Self {
        Self::new(&format!("{:016x}", fastrand::u64(..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_known_again() {
        let ours = CdnLoop::new("a");
        let eight = ["millrace;id=b"; MOST].join(", ");
        let nine = format!("{eight}, millrace");
        for (lines, closes) in [
            (&[][..], false),
            (&["other"], false),
            (&["millrace;id=b"], false),
            (&["millrace;id=ab, millrace;id=a1"], false),
            (&["millrace;id=a"], true),
            (&["other.example:80; x=y", "b,millrace ; id=a"], true),
            (&[&eight], false),
            (&[&nine], true),
            (&["\"", ",,;"], false),
        ] {
            let mut headers = HeaderMap::new();
            lines.iter().for_each(|line| {
                headers.append(FIELD, HeaderValue::from_str(line).unwrap());
            });
            assert_eq!(ours.closes(&headers), closes, "{lines:?}");
        }
        let mut headers = HeaderMap::new();
        ours.mark(&mut headers);
        assert!(ours.closes(&headers) && !CdnLoop::default().closes(&headers));
    }
}
