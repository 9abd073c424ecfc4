//! What a token that was found good allows.

use std::str::FromStr;

use super::Denied;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Getting what routes keep for those with a token.
    Read,
    /// Putting assets in place and removing them.
    Upload,
    Purge,
    /// Everything.
    Admin,
}

/// Who it is, and what they may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// For quotas and the catalogue; empty: nobody in particular.
    pub owner: String,
    scopes: Vec<Scope>,
    /// Path in normal form, below which it holds; None: everywhere.
    prefix: Option<String>,
}

/// A word that is no scope.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("scopes are read, upload, purge and admin")]
pub struct NoScope;

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Upload => "upload",
            Self::Purge => "purge",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(word: &str) -> Result<Self, NoScope> {
        let all = [Self::Read, Self::Upload, Self::Purge, Self::Admin];
        all.into_iter().find(|scope| scope.as_str() == word).ok_or(NoScope)
    }
}

impl Grant {
    /// Of a token with these scopes.
    pub(super) fn new(owner: String, scopes: Vec<Scope>, prefix: Option<String>) -> Self {
        Self { owner, scopes, prefix }
    }

    /// Of the token in the settings.
    pub(super) fn operator() -> Self {
        Self::new("operator".to_owned(), vec![Scope::Admin], None)
    }

    pub fn check(&self, scope: Scope, path: &str) -> Result<(), Denied> {
        self.check_scope(scope)?;
        self.check_path(scope, path)
    }

    pub fn check_scope(&self, scope: Scope) -> Result<(), Denied> {
        match self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin) {
            true => Ok(()),
            false => Err(Denied::Scope(scope)),
        }
    }

    pub fn check_path(&self, scope: Scope, path: &str) -> Result<(), Denied> {
        match self.prefix.as_deref().is_none_or(|prefix| is_below(path, prefix)) {
            true => Ok(()),
            false => Err(Denied::Path(scope)),
        }
    }

    /// Whether it is for everything, everywhere.
    pub fn is_admin(&self) -> bool {
        self.scopes.contains(&Scope::Admin) && self.prefix.is_none()
    }

    /// Whose jobs are its own: of tokens for nobody in particular those of its prefix.
    pub fn account(&self) -> String {
        match &self.prefix {
            Some(prefix) if self.owner.is_empty() => format!("prefix:{prefix}"),
            _ => self.owner.clone(),
        }
    }

    pub fn is_limited(&self) -> bool {
        self.prefix.is_some()
    }
}

/// Whether a path lies below a prefix of whole segments: `/a` holds `/a` and `/a/b`, not `/ab`.
pub fn is_below(path: &str, prefix: &str) -> bool {
    let stem = prefix.trim_end_matches('/');
    prefix.starts_with('/')
        && path.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_segments() {
        for (path, prefix, below) in [
            ("/assets/a/x", "/assets/a", true),
            ("/assets/a/x", "/assets/a/", true),
            ("/assets/a", "/assets/a", true),
            ("/assets/ab", "/assets/a", false),
            ("/assets", "/assets/a", false),
            ("/x", "/", true),
            ("/x", "", false),
            ("/x", "x", false),
        ] {
            assert_eq!(is_below(path, prefix), below, "{path} below {prefix}");
        }
    }

    #[test]
    fn jobs_of_nobody_in_particular_are_their_prefixs() {
        let account = |owner: &str, prefix: Option<&str>| {
            Grant::new(owner.to_owned(), vec![Scope::Upload], prefix.map(str::to_owned)).account()
        };
        assert_eq!(account("", Some("/assets/a")), "prefix:/assets/a");
        assert_eq!(account("me", Some("/assets/a")), "me");
        assert_eq!(account("", None), "");
    }

    #[test]
    fn scopes_do_not_imply_each_other_but_for_admin() {
        let may = |granted, wanted| Grant::new(String::new(), vec![granted], None).check(wanted, "/").is_ok();
        for wanted in [Scope::Read, Scope::Upload, Scope::Purge, Scope::Admin] {
            assert!(may(Scope::Admin, wanted));
            assert_eq!(may(Scope::Upload, wanted), wanted == Scope::Upload);
        }
    }
}
