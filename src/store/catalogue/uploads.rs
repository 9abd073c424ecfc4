//! Rows of uploads that go on over several requests.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    super::BlobId,
    Catalogue, Result,
    engine::{count, number},
};

/// An upload that has begun. Its bytes are a lasting draft of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    pub id: BlobId,
    /// Of the asset that it will be.
    pub key: String,
    /// None: not said yet.
    pub length: Option<u64>,
    /// As the client gave it.
    pub metadata: String,
    pub owner: String,
    pub kind: Kind,
    /// What a final upload is put together from.
    pub parts: Vec<BlobId>,
    /// A piece that is not checked yet begins here: to be taken back when whoever sends it is gone.
    pub checked: Option<u64>,
    pub created: i64,
    pub expires: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Whole,
    /// To be put together with others.
    Partial,
    Final,
    /// It has become an asset.
    Done,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Partial => "partial",
            Self::Final => "final",
            Self::Done => "done",
        }
    }

    fn parse(word: &str) -> Self {
        match word {
            "partial" => Self::Partial,
            "final" => Self::Final,
            "done" => Self::Done,
            _ => Self::Whole,
        }
    }
}

const COLUMNS: &str = "id, key, length, metadata, owner, kind, parts, checked, created, expires";

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
    }))
}

/// Bytes that uploads of this owner will have.
pub(super) fn promised_to(connection: &Connection, owner: &str) -> rusqlite::Result<u64> {
    let query = "SELECT coalesce(sum(length), 0) FROM uploads WHERE owner = ?1 AND kind <> 'done'";
    connection.query_row(query, [owner], |row| row.get(0)).map(count)
}

/// Its client may still ask how far it has come.
pub(super) fn mark_done(connection: &Connection, id: &BlobId, length: u64) -> rusqlite::Result<()> {
    let update = "UPDATE uploads SET kind = 'done', length = ?2 WHERE id = ?1";
    connection.execute(update, params![id.as_str(), number(length)])?;
    Ok(())
}

impl Catalogue {
    pub async fn upload(&self, id: &BlobId) -> Result<Option<Upload>> {
        let id = id.clone();
        let work = move |connection: &Connection| {
            let query = format!("SELECT {COLUMNS} FROM uploads WHERE id = ?1");
            Ok(connection.query_row(&query, [id.as_str()], of_row).optional()?.flatten())
        };
        self.engine.read(work).await
    }

    /// Notes an upload as it is now, and which version its key has.
    pub async fn put_upload(&self, upload: Upload) -> Result<()> {
        let work = move |connection: &Connection| {
            let parts: Vec<_> = upload.parts.iter().map(BlobId::as_str).collect();
            let insert = format!(
                "INSERT OR REPLACE INTO uploads ({COLUMNS}, seen)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
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
            ])?;
            Ok(())
        };
        self.engine.write(work).await
    }

    pub async fn end_upload(&self, id: &BlobId) -> Result<()> {
        let id = id.clone();
        let work = move |connection: &Connection| {
            connection.execute("DELETE FROM uploads WHERE id = ?1", [id.as_str()])?;
            Ok(())
        };
        self.engine.write(work).await
    }

    /// Those that may have all their bytes and are no asset yet, from after this one on. Not those whose key has changed since
    /// they were noted: that was told of, and they were not.
    pub async fn unfinished_uploads(&self, after: &str) -> Result<Vec<Upload>> {
        let after = after.to_owned();
        let work = move |connection: &Connection| {
            let query = format!(
                "SELECT {COLUMNS} FROM uploads WHERE id > ?1 AND kind = 'whole' AND length IS NOT NULL
                     AND seen = coalesce((SELECT version FROM versions WHERE versions.key = uploads.key), 0)
                 ORDER BY id LIMIT 1000"
            );
            let mut statement = connection.prepare(&query)?;
            let rows = statement.query_map([after], of_row)?;
            rows.filter_map(rusqlite::Result::transpose).collect()
        };
        self.engine.read(work).await
    }

    /// Some of those whose time is over.
    pub async fn expired_uploads(&self, now: i64) -> Result<Vec<BlobId>> {
        let work = move |connection: &Connection| {
            let mut statement =
                connection.prepare("SELECT id FROM uploads WHERE expires <= ?1 LIMIT 1000")?;
            let ids = statement.query_map([now], |row| row.get::<_, String>(0))?;
            ids.map(|id| Ok(BlobId::parse(&id?))).collect::<rusqlite::Result<Vec<_>>>()
        };
        Ok(self.engine.read(work).await?.into_iter().flatten().collect())
    }
}
