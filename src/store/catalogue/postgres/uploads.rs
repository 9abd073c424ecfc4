//! Rows of uploads that go on over several requests.

use deadpool_postgres::{Client, GenericClient, Transaction};
use tokio_postgres::Row;

use super::{
    super::{super::BlobId, Bounds, Kind, Outcome, Refused, Result, Upload},
    assets, count, number,
};

macro_rules! columns {
    () => {
        "id, key, length, received, metadata, owner, kind, parts, checked, created, expires"
    };
}

pub(super) const FIND: &str = concat!("SELECT ", columns!(), " FROM millrace_uploads WHERE id = $1");
pub(super) const UNFINISHED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM millrace_uploads WHERE id > $1 AND kind = 'whole' AND length IS NOT NULL
         AND seen = coalesce((SELECT version FROM millrace_versions v WHERE v.key = millrace_uploads.key), 0)
     ORDER BY id LIMIT 1000"
);

const PUT: &str = concat!(
    "INSERT INTO millrace_uploads (",
    columns!(),
    ", seen)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
         coalesce((SELECT version FROM millrace_versions v WHERE v.key = $2), 0))
     ON CONFLICT (id) DO UPDATE SET (length, received, kind, parts, checked, expires, seen)
     = (excluded.length, excluded.received, excluded.kind, excluded.parts, excluded.checked,
        excluded.expires, excluded.seen)"
);

pub(super) fn of_row(row: &Row) -> Result<Option<Upload>> {
    let Some(id) = BlobId::parse(row.try_get(0)?) else { return Ok(None) };
    let parts: Vec<String> = row.try_get(7)?;
    Ok(Some(Upload {
        id,
        key: row.try_get(1)?,
        length: row.try_get::<_, Option<i64>>(2)?.map(count),
        received: count(row.try_get(3)?),
        metadata: row.try_get(4)?,
        owner: row.try_get(5)?,
        kind: Kind::parse(row.try_get(6)?),
        parts: parts.iter().filter_map(|part| BlobId::parse(part)).collect(),
        checked: row.try_get::<_, Option<i64>>(8)?.map(count),
        created: row.try_get(9)?,
        expires: row.try_get(10)?,
    }))
}

/// Bytes that uploads of this owner will have; of those that do not say it, what they have.
pub(super) async fn promised_to(client: &impl GenericClient, owner: &str) -> Result<u64> {
    let query = "SELECT coalesce(sum(coalesce(length, received)), 0)::bigint FROM millrace_uploads
                 WHERE owner = $1 AND kind <> 'done'";
    let statement = client.prepare_cached(query).await?;
    Ok(count(client.query_one(&statement, &[&owner]).await?.try_get(0)?))
}

/// Its client may still ask how far it has come.
pub(super) async fn mark_done(transaction: &Transaction<'_>, id: &BlobId, length: u64) -> Result<()> {
    let update = "UPDATE millrace_uploads SET kind = 'done', length = $2 WHERE id = $1";
    let statement = transaction.prepare_cached(update).await?;
    transaction.execute(&statement, &[&id.as_str(), &number(length)]).await?;
    Ok(())
}

/// What it is at the moment, locked until the transaction is over. None: there is no such upload.
pub(super) async fn lock(transaction: &Transaction<'_>, id: &BlobId) -> Result<Option<Kind>> {
    let query = "SELECT kind FROM millrace_uploads WHERE id = $1 FOR UPDATE";
    let statement = transaction.prepare_cached(query).await?;
    let found = transaction.query_opt(&statement, &[&id.as_str()]).await?;
    Ok(found.map(|row| row.try_get(0).map(Kind::parse)).transpose()?)
}

pub(super) async fn end(client: &impl GenericClient, id: &BlobId) -> Result<()> {
    let statement = client.prepare_cached("DELETE FROM millrace_uploads WHERE id = $1").await?;
    client.execute(&statement, &[&id.as_str()]).await?;
    Ok(())
}

pub(super) async fn begin(client: &mut Client, upload: &Upload, bounds: &Bounds) -> Result<Outcome<()>> {
    let transaction = client.transaction().await?;
    // All that begin count each other; a beginning is short and rare beside the bytes that follow.
    transaction
        .batch_execute("SELECT pg_advisory_xact_lock(hashtextextended('millrace uploads', 0))")
        .await?;
    let query =
        "SELECT count(*), count(*) FILTER (WHERE owner = $1) FROM millrace_uploads WHERE kind <> 'done'";
    let statement = transaction.prepare_cached(query).await?;
    let row = transaction.query_one(&statement, &[&upload.owner]).await?;
    if count(row.try_get(1)?) >= bounds.per_owner {
        return Ok(Err(Refused::TooMany));
    }
    if count(row.try_get(0)?) >= bounds.overall {
        return Ok(Err(Refused::Crowded));
    }
    if let Some(quota) = bounds.quota {
        assets::lock_owner(&transaction, &upload.owner).await?;
        let promised = promised_to(&transaction, &upload.owner).await?;
        let stored = assets::stored_by(&transaction, &upload.owner, &upload.key).await?;
        let used = promised.saturating_add(stored);
        if used.saturating_add(upload.length.unwrap_or(0)) > quota {
            return Ok(Err(Refused::Quota));
        }
    }
    put(&transaction, upload).await?;
    transaction.commit().await?;
    Ok(Ok(()))
}

pub(super) async fn put(client: &impl GenericClient, upload: &Upload) -> Result<()> {
    let parts: Vec<_> = upload.parts.iter().map(BlobId::as_str).collect();
    let statement = client.prepare_cached(PUT).await?;
    client
        .execute(
            &statement,
            &[
                &upload.id.as_str(),
                &upload.key,
                &upload.length.map(number),
                &number(upload.received),
                &upload.metadata,
                &upload.owner,
                &upload.kind.as_str(),
                &parts,
                &upload.checked.map(number),
                &upload.created,
                &upload.expires,
            ],
        )
        .await?;
    Ok(())
}
