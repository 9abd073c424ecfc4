//! Rows of uploads that go on over several requests.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    super::{
        super::BlobId,
        asset::Refused,
        upload::{Bounds, Kind, Upload},
    },
    assets,
    engine::{count, number},
};

const COLUMNS: &str = "id, key, length, metadata, owner, kind, parts, checked, created, expires, received";

fn of_row(row: &Row<'_>) -> rusqlite::Result<Option<Upload>> {
    let Some(id) = BlobId::parse(&row.get::<_, String>(0)?) else { return Ok(None) };
    let (kind, parts): (String, String) = (row.get(5)?, row.get(6)?);
    Ok(Some(Upload {
        id,
        key: row.get(1)?,
        length: row.get::<_, Option<i64>>(2)?.map(count),
        metadata: row.get(3)?,
        owner: row.get(4)?,
        kind: Kind::parse(&kind),
        parts: parts.split_ascii_whitespace().filter_map(BlobId::parse).collect(),
        checked: row.get::<_, Option<i64>>(7)?.map(count),
        created: row.get(8)?,
        expires: row.get(9)?,
        received: count(row.get(10)?),
    }))
}

/// Bytes that uploads of this owner will have; of those that do not say it, what they have.
pub(super) fn promised_to(connection: &Connection, owner: &str) -> rusqlite::Result<u64> {
    let query = "SELECT coalesce(sum(coalesce(length, received)), 0) FROM uploads WHERE owner = ?1 AND kind <> 'done'";
    connection.query_row(query, [owner], |row| row.get(0)).map(count)
}

/// Its client may still ask how far it has come.
pub(super) fn mark_done(connection: &Connection, id: &BlobId, length: u64) -> rusqlite::Result<()> {
    let update = "UPDATE uploads SET kind = 'done', length = ?2 WHERE id = ?1";
    connection.execute(update, params![id.as_str(), number(length)])?;
    Ok(())
}

pub(super) fn end(connection: &Connection, id: &BlobId) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM uploads WHERE id = ?1", [id.as_str()])?;
    Ok(())
}

pub(super) fn find(connection: &Connection, id: &BlobId) -> rusqlite::Result<Option<Upload>> {
    let query = format!("SELECT {COLUMNS} FROM uploads WHERE id = ?1");
    Ok(connection.query_row(&query, [id.as_str()], of_row).optional()?.flatten())
}

/// Notes a new one, if there may be one more.
pub(super) fn begin(
    connection: &Connection,
    upload: &Upload,
    bounds: &Bounds,
) -> rusqlite::Result<Result<(), Refused>> {
    let query = "SELECT count(*), count(*) FILTER (WHERE owner = ?1) FROM uploads WHERE kind <> 'done'";
    let (all, own): (i64, i64) =
        connection.query_row(query, [&upload.owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if count(own) >= bounds.per_owner {
        return Ok(Err(Refused::TooMany));
    }
    if count(all) >= bounds.overall {
        return Ok(Err(Refused::Crowded));
    }
    if let Some(quota) = bounds.quota {
        let promised = promised_to(connection, &upload.owner)?;
        let used = promised.saturating_add(assets::stored_by(connection, &upload.owner, &upload.key)?);
        if used.saturating_add(upload.length.unwrap_or(0)) > quota {
            return Ok(Err(Refused::Quota));
        }
    }
    put(connection, upload)?;
    Ok(Ok(()))
}

/// Notes an upload as it is now, and which version its key has.
pub(super) fn put(connection: &Connection, upload: &Upload) -> rusqlite::Result<()> {
    let parts: Vec<_> = upload.parts.iter().map(BlobId::as_str).collect();
    let insert = format!(
        "INSERT OR REPLACE INTO uploads ({COLUMNS}, seen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
             coalesce((SELECT version FROM versions WHERE key = ?2), 0))"
    );
    connection.prepare_cached(&insert)?.execute(params![
        upload.id.as_str(),
        upload.key,
        upload.length.map(number),
        upload.metadata,
        upload.owner,
        upload.kind.as_str(),
        parts.join(" "),
        upload.checked.map(number),
        upload.created,
        upload.expires,
        number(upload.received),
    ])?;
    Ok(())
}

pub(super) fn unfinished(connection: &Connection, after: &str) -> rusqlite::Result<Vec<Upload>> {
    let query = format!(
        "SELECT {COLUMNS} FROM uploads WHERE id > ?1 AND kind = 'whole' AND length IS NOT NULL
             AND seen = coalesce((SELECT version FROM versions WHERE versions.key = uploads.key), 0)
         ORDER BY id LIMIT 1000"
    );
    let mut statement = connection.prepare(&query)?;
    let rows = statement.query_map([after], of_row)?;
    rows.filter_map(rusqlite::Result::transpose).collect()
}

pub(super) fn expired(connection: &Connection, now: i64) -> rusqlite::Result<Vec<BlobId>> {
    let mut statement = connection.prepare("SELECT id FROM uploads WHERE expires <= ?1 LIMIT 1000")?;
    let ids = statement.query_map([now], |row| row.get::<_, String>(0))?;
    let ids = ids.map(|id| Ok(BlobId::parse(&id?))).collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(ids.into_iter().flatten().collect())
}
