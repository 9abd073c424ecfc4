//! Rows of assets.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    super::{
        super::{AssetKey, BlobId},
        asset::{Asset, Condition, NewAsset, Probed, Refused, Replaced},
    },
    engine::{count, number},
    uploads,
};

const COLUMNS: &str = "key, blob, length, sha256, media_type, attachment, tags, owner, version, created, modified, \
     probed, duration, width, height, codecs";

pub(super) fn columns() -> &'static str {
    COLUMNS
}

/// None: a row that we did not write.
pub(super) fn of_row(row: &Row<'_>) -> rusqlite::Result<Option<Asset>> {
    let (key, blob): (String, String) = (row.get(0)?, row.get(1)?);
    let (Some(key), Some(blob)) = (key_of(&key), BlobId::parse(&blob)) else { return Ok(None) };
    let tags: String = row.get(6)?;
    Ok(Some(Asset {
        key,
        blob,
        length: count(row.get(2)?),
        sha256: row.get(3)?,
        media_type: row.get(4)?,
        attachment: row.get(5)?,
        tags: tags.split_ascii_whitespace().map(str::to_owned).collect(),
        owner: row.get(7)?,
        version: count(row.get(8)?),
        created: row.get(9)?,
        modified: row.get(10)?,
        probed: probed(row)?,
    }))
}

fn probed(row: &Row<'_>) -> rusqlite::Result<Option<Probed>> {
    if !row.get::<_, bool>(11)? {
        return Ok(None);
    }
    let (width, height): (Option<u32>, Option<u32>) = (row.get(13)?, row.get(14)?);
    Ok(Some(Probed {
        duration_ms: row.get::<_, Option<i64>>(12)?.map(count),
        size: width.zip(height),
        codecs: row.get::<_, String>(15)?.split_ascii_whitespace().map(str::to_owned).collect(),
    }))
}

/// What was found in an asset, unless it has changed since.
pub(super) fn note_probed(
    connection: &Connection,
    key: &AssetKey,
    version: u64,
    found: &Probed,
) -> rusqlite::Result<()> {
    let update = "UPDATE assets SET probed = 1, duration = ?3, width = ?4, height = ?5, codecs = ?6
                  WHERE key = ?1 AND version = ?2";
    connection.execute(
        update,
        params![
            key.as_str(),
            number(version),
            found.duration_ms.map(number),
            found.size.map(|(width, _)| width),
            found.size.map(|(_, height)| height),
            found.codecs.join(" "),
        ],
    )?;
    Ok(())
}

pub(super) fn unprobed(connection: &Connection) -> rusqlite::Result<Vec<Asset>> {
    let query = format!("SELECT {COLUMNS} FROM assets WHERE probed = 0 LIMIT 100");
    let mut statement = connection.prepare(&query)?;
    let rows = statement.query_map([], of_row)?;
    rows.filter_map(rusqlite::Result::transpose).collect()
}

pub(super) fn key_of(text: &str) -> Option<AssetKey> {
    AssetKey::parse(text).ok()
}

pub(super) fn find(connection: &Connection, key: &AssetKey) -> rusqlite::Result<Option<Asset>> {
    let query = format!("SELECT {COLUMNS} FROM assets WHERE key = ?1");
    let mut statement = connection.prepare_cached(&query)?;
    Ok(statement.query_row([key.as_str()], of_row).optional()?.flatten())
}

pub(super) fn used_by(connection: &Connection, owner: &str) -> rusqlite::Result<u64> {
    Ok(stored_by(connection, owner, "")? + uploads::promised_to(connection, owner)?)
}

/// Bytes of all assets but one.
pub(super) fn stored_by(connection: &Connection, owner: &str, but: &str) -> rusqlite::Result<u64> {
    let query = "SELECT coalesce(sum(length), 0) FROM assets WHERE owner = ?1 AND key <> ?2";
    connection.query_row(query, [owner, but], |row| row.get(0)).map(count)
}

pub(super) fn commit(
    connection: &Connection,
    new: &NewAsset,
    condition: &Condition,
    quota: Option<u64>,
) -> rusqlite::Result<Result<Replaced, Refused>> {
    let old = find(connection, &new.key)?;
    if !condition.holds(old.as_ref()) {
        return Ok(Err(Refused::Condition));
    }
    if let Some(quota) = quota {
        let others = stored_by(connection, &new.owner, new.key.as_str())?;
        if others.saturating_add(new.length) > quota {
            return Ok(Err(Refused::Quota));
        }
    }
    let version = change(connection, &new.key)?;
    let created = old.as_ref().map_or(new.now, |old| old.created);
    let insert = format!(
        "INSERT OR REPLACE INTO assets ({COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, NULL, NULL, NULL, '')"
    );
    connection.prepare_cached(&insert)?.execute(params![
        new.key.as_str(),
        new.blob.as_str(),
        number(new.length),
        new.sha256,
        new.media_type,
        new.attachment,
        new.tags.join(" "),
        new.owner,
        number(version),
        created,
        new.now,
        new.plain,
    ])?;
    untag(connection, &new.key)?;
    for tag in &new.tags {
        connection
            .prepare_cached("INSERT OR IGNORE INTO tags (tag, key) VALUES (?1, ?2)")?
            .execute([tag, new.key.as_str()])?;
    }
    let asset = find(connection, &new.key)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Ok(Replaced { asset, old }))
}

/// What has become of one that was put in place before.
pub(super) fn committed(
    connection: &Connection,
    new: &NewAsset,
) -> rusqlite::Result<Result<Replaced, Refused>> {
    let found = find(connection, &new.key)?.filter(|found| found.blob == new.blob);
    Ok(found.map(|asset| Replaced { asset, old: None }).ok_or(Refused::Finished))
}

pub(super) fn remove(
    connection: &Connection,
    key: &AssetKey,
    condition: &Condition,
) -> rusqlite::Result<Result<Option<Asset>, Refused>> {
    let old = find(connection, key)?;
    if !condition.holds(old.as_ref()) {
        return Ok(Err(Refused::Condition));
    }
    let Some(old) = old else { return Ok(Ok(None)) };
    let version = change(connection, key)?;
    connection.execute("DELETE FROM assets WHERE key = ?1", [key.as_str()])?;
    untag(connection, key)?;
    Ok(Ok(Some(Asset { version, ..old })))
}

fn untag(connection: &Connection, key: &AssetKey) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM tags WHERE key = ?1")?.execute([key.as_str()])?;
    Ok(())
}

/// Counts a change, and notes that caches have to hear of it, however soon we die.
fn change(connection: &Connection, key: &AssetKey) -> rusqlite::Result<u64> {
    let count_up = "INSERT INTO versions (key, version) VALUES (?1, 1)
                    ON CONFLICT (key) DO UPDATE SET version = version + 1 RETURNING version";
    let version: i64 = connection.prepare_cached(count_up)?.query_row([key.as_str()], |row| row.get(0))?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO changed (key, version) VALUES (?1, ?2)")?
        .execute(params![key.as_str(), version])?;
    Ok(count(version))
}
