//! What the authority is to find under a name, while it looks (RFC 8555 §8.3).

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// Below which it looks, without TLS.
pub const BELOW: &str = "/.well-known/acme-challenge/";

/// By token. One name is ordered at a time, so there are few.
#[derive(Debug, Clone, Default)]
pub struct Challenges(Arc<Mutex<HashMap<String, String>>>);

/// Is shown until it is dropped.
pub(super) struct Shown {
    challenges: Challenges,
    token: String,
}

impl Challenges {
    /// What is to be answered at this path. None: it is none of ours.
    pub fn at(&self, path: &str) -> Option<String> {
        self.0.lock().get(path.strip_prefix(BELOW)?).cloned()
    }

    pub(super) fn show(&self, token: &str, answer: &str) -> Shown {
        self.0.lock().insert(token.to_owned(), answer.to_owned());
        Shown { challenges: self.clone(), token: token.to_owned() }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.challenges.0.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_there_while_they_are_shown() {
        let challenges = Challenges::default();
        let path = format!("{BELOW}token");
        assert_eq!(challenges.at(&path), None);
        let shown = challenges.show("token", "token.thumbprint");
        assert_eq!(challenges.at(&path).as_deref(), Some("token.thumbprint"));
        assert_eq!((challenges.at(&format!("{path}x")), challenges.at("/token")), (None, None));
        drop(shown);
        assert_eq!(challenges.at(&path), None);
    }
}
