//! Assets in the order of their keys, page by page.

use super::asset::Asset;

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// With which keys begin; any text.
    pub prefix: String,
    pub tag: Option<String>,
    /// Only what comes behind this key.
    pub after: String,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub assets: Vec<Asset>,
    /// The key to go on after, if there is more.
    pub next: Option<String>,
}

impl Page {
    /// Of assets that were found under a limit of one more than is wanted.
    pub(super) fn of(mut assets: Vec<Asset>, limit: usize) -> Self {
        let more = assets.len() > limit;
        assets.truncate(limit);
        let last = assets.last().map(|asset| asset.key.to_string());
        Self { assets, next: last.filter(|_| more) }
    }
}

/// The first text behind all that begin with this one, in the order of bytes.
pub(super) fn behind(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::behind;

    #[test]
    fn the_end_of_a_prefix_comes_behind_all_of_it() {
        for (prefix, end) in
            [("a", Some("b")), ("a/é", Some("a/ê")), ("", None), ("\u{d7ff}", Some("\u{e000}"))]
        {
            assert_eq!(behind(prefix).as_deref(), end);
        }
        assert_eq!(behind("a\u{10ffff}").as_deref(), Some("b"));
    }
}
