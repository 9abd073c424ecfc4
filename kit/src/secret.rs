//! A text of the settings that is never shown, and how a request proves that it knows it.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde::{Deserialize, Serialize, Serializer};

/// In place of what is not shown.
pub const HIDDEN: &str = "(hidden)";

/// Empty: nobody knows it. Written out, it says only whether there is one.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes as long for any two texts of the same length.
    pub fn is(&self, given: &[u8]) -> bool {
        self.is_set() && verify_slices_are_equal(given, self.0.as_bytes()).is_ok()
    }

    /// Of the field `Authorization`.
    pub fn admits(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked("bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && self.is(given.trim_ascii())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_set() { HIDDEN } else { "" })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_itself_lets_in() {
        let secret = Secret::new("hush");
        for (field, admitted) in [
            ("Bearer hush", true),
            ("bearer  hush ", true),
            ("Bearer hus", false),
            ("Bearer hushh", false),
            ("Basic hush", false),
            ("hush", false),
            ("", false),
        ] {
            assert_eq!(secret.admits(field.as_bytes()), admitted, "{field}");
        }
        assert!(!Secret::default().admits(b"Bearer "));
        assert!(!Secret::default().is(b""));
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
