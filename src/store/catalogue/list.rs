//! Assets in the order of their keys, page by page.

use rusqlite::{Connection, params_from_iter, types::Value};

use super::asset::{Asset, columns, of_row};

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

pub(super) fn list(connection: &Connection, listing: &Listing) -> rusqlite::Result<Page> {
    let mut query = format!("SELECT {} FROM assets WHERE key > ?1 AND key >= ?2", columns());
    let mut values: Vec<Value> = vec![listing.after.clone().into(), listing.prefix.clone().into()];
    if let Some(end) = behind(&listing.prefix) {
        values.push(end.into());
        query.push_str(&format!(" AND key < ?{}", values.len()));
    }
    if let Some(tag) = &listing.tag {
        values.push(tag.clone().into());
        query.push_str(&format!(" AND key IN (SELECT key FROM tags WHERE tag = ?{})", values.len()));
    }
    query.push_str(&format!(" ORDER BY key LIMIT {}", listing.limit + 1));
    let mut statement = connection.prepare(&query)?;
    let rows = statement.query_map(params_from_iter(values), of_row)?;
    let mut assets = rows.filter_map(Result::transpose).collect::<rusqlite::Result<Vec<_>>>()?;
    let more = assets.len() > listing.limit;
    assets.truncate(listing.limit);
    let last = assets.last().map(|asset| asset.key.to_string());
    Ok(Page { assets, next: last.filter(|_| more) })
}

/// The first text behind all that begin with this one, in the order of bytes.
fn behind(prefix: &str) -> Option<String> {
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
