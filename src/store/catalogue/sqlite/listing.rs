//! The listing, as a query.

use rusqlite::{Connection, params_from_iter, types::Value};

use super::{
    super::list::{Listing, Page, behind},
    assets::{columns, of_row},
};

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
    let assets = rows.filter_map(Result::transpose).collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(Page::of(assets, listing.limit))
}
