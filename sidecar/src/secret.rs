//! A text that is never shown, and how a request proves that it knows it.

use std::{fmt, hint::black_box};

use serde::{Deserialize, Serialize};

/// Empty: nobody knows it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Of the field `Authorization`.
    pub fn admits(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked("bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ")
            && !self.0.is_empty()
            && equal(given.trim_ascii(), self.0.as_bytes())
    }
}

/// Takes as long for any two texts of the same length.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    a.len() == b.len() && differing == 0
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
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
