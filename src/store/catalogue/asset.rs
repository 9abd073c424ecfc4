//! Rows of assets.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    super::{AssetKey, BlobId},
    engine::{count, number},
    uploads,
};

/// A stored asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    pub key: AssetKey,
    pub blob: BlobId,
    pub length: u64,
    pub sha256: [u8; 32],
    /// As its content says.
    pub media_type: String,
    /// To be saved rather than shown.
    pub attachment: bool,
    pub tags: Vec<String>,
    pub owner: String,
    /// 1 for the first of this key, and one more with each change; deleting counts too.
    pub version: u64,
    /// Milliseconds since 1970.
    pub created: i64,
    pub modified: i64,
}

/// One to be stored.
#[derive(Debug, Clone)]
pub struct NewAsset {
    pub key: AssetKey,
    pub blob: BlobId,
    pub length: u64,
    pub sha256: [u8; 32],
    pub media_type: String,
    pub attachment: bool,
    pub tags: Vec<String>,
    pub owner: String,
    pub now: i64,
}

/// What must be in an asset's place (RFC 9110 §13.1.1, §13.1.2). Entity tags as they are in fields, with quotes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    pub if_match: Option<Tags>,
    pub if_none_match: Option<Tags>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    Any,
    Of(Vec<String>),
}

/// What came of a commit.
#[derive(Debug, Clone)]
pub struct Replaced {
    pub asset: Asset,
    /// The one before.
    pub old: Option<Asset>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Condition,
    Quota,
    /// A request that came later has changed the key already.
    Overtaken,
}

impl Asset {
    /// A strong entity tag, with quotes.
    pub fn etag(&self) -> String {
        let hex: String = self.sha256[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\"{hex}\"")
    }
}

impl Condition {
    pub fn holds(&self, current: Option<&Asset>) -> bool {
        let tag = current.map(Asset::etag);
        let named = |tags: &Tags| match (tags, &tag) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::Of(tags), Some(tag)) => tags.contains(tag),
        };
        self.if_match.as_ref().is_none_or(named) && !self.if_none_match.as_ref().is_some_and(named)
    }
}

const COLUMNS: &str =
    "key, blob, length, sha256, media_type, attachment, tags, owner, version, created, modified";

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
    }))
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
    let query = "SELECT coalesce(sum(length), 0) FROM assets WHERE owner = ?1";
    let stored: i64 = connection.query_row(query, [owner], |row| row.get(0))?;
    Ok(count(stored) + uploads::promised_to(connection, owner)?)
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
        let query = "SELECT coalesce(sum(length), 0) FROM assets WHERE owner = ?1 AND key <> ?2";
        let others: i64 = connection.query_row(query, [&new.owner, new.key.as_str()], |row| row.get(0))?;
        if count(others).saturating_add(new.length) > quota {
            return Ok(Err(Refused::Quota));
        }
    }
    let version = change(connection, &new.key)?;
    let created = old.as_ref().map_or(new.now, |old| old.created);
    let insert = format!(
        "INSERT OR REPLACE INTO assets ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
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
