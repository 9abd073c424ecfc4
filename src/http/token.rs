//! The secret that lets operators in from elsewhere.

use std::{fmt, hint::black_box};

use http::{HeaderMap, header};

/// Empty: lets nobody in. Never shown.
#[derive(Clone, Default)]
pub struct Token(String);

impl Token {
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// Whether the request carries it as `Authorization: Bearer …`.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return false };
        let Some((scheme, given)) = line.as_bytes().split_at_checked("bearer ".len()) else { return false };
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

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_token_itself_lets_in() {
        let token = Token::new("secret");
        for (lines, admitted) in [
            (&["Bearer secret"][..], true),
            (&["bearer  secret"], true),
            (&["Bearer secre"], false),
            (&["Bearer secret1"], false),
            (&["Bearer Secret"], false),
            (&["Bearer "], false),
            (&["Basic secret"], false),
            (&["secret"], false),
            (&["Bearer secret", "Bearer secret"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            lines.iter().for_each(|line| {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(line));
            });
            assert_eq!(token.admits(&headers), admitted, "{lines:?}");
            assert!(!Token::default().admits(&headers), "{lines:?}");
        }
        assert_eq!(format!("{token:?}"), "Token");
    }
}
