//! Rows of assets.

use std::fmt::Write;

use deadpool_postgres::{Client, GenericClient, Transaction};
use tokio_postgres::{Row, types::ToSql};

use super::{
    super::{
        super::{AssetKey, BlobId},
        Asset, Commit, Condition, Kind, Listing, NewAsset, Outcome, Page, Place, Probed, Refused, Replaced,
        Result, Turn,
        list::behind,
    },
    Postgres, count,
    listen::CHANGED,
    number, uploads,
};

macro_rules! columns {
    () => {
        "key, blob, length, sha256, media_type, attachment, tags, owner, version, created, modified, \
         probed, duration, width, height, codecs"
    };
}

pub(super) const FIND: &str = concat!("SELECT ", columns!(), " FROM millrace_assets WHERE key = $1");
pub(super) const UNPROBED: &str =
    concat!("SELECT ", columns!(), " FROM millrace_assets WHERE NOT probed LIMIT 100");
pub(super) const NOTE_PROBED: &str =
    "UPDATE millrace_assets SET probed = true, duration = $3, width = $4, height = $5, codecs = $6
     WHERE key = $1 AND version = $2";

const USED: &str =
    "SELECT coalesce(sum(length), 0)::bigint FROM millrace_assets WHERE owner = $1 AND key <> $2";

const REPLACE: &str = "
    INSERT INTO millrace_assets
        (key, blob, length, sha256, media_type, attachment, tags, owner, version, created, modified, probed)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (key) DO UPDATE SET (blob, length, sha256, media_type, attachment, tags, owner, version,
        modified, probed, duration, width, height, codecs)
    = ($2, $3, $4, $5, $6, $7, $8, $9, $11, $12, NULL, NULL, NULL, '{}')";

/// None: a row that we did not write.
pub(super) fn of_row(row: &Row) -> Result<Option<Asset>> {
    let (Some(key), Some(blob)) = (AssetKey::parse(row.try_get(0)?).ok(), BlobId::parse(row.try_get(1)?))
    else {
        return Ok(None);
    };
    let Ok(sha256) = row.try_get::<_, &[u8]>(3)?.try_into() else { return Ok(None) };
    let (width, height): (Option<i64>, Option<i64>) = (row.try_get(13)?, row.try_get(14)?);
    let pixels = |side: i64| u32::try_from(side).unwrap_or(u32::MAX);
    let found = Probed {
        duration_ms: row.try_get::<_, Option<i64>>(12)?.map(count),
        size: width.map(pixels).zip(height.map(pixels)),
        codecs: row.try_get(15)?,
    };
    Ok(Some(Asset {
        key,
        blob,
        length: count(row.try_get(2)?),
        sha256,
        media_type: row.try_get(4)?,
        attachment: row.try_get(5)?,
        tags: row.try_get(6)?,
        owner: row.try_get(7)?,
        version: count(row.try_get(8)?),
        created: row.try_get(9)?,
        modified: row.try_get(10)?,
        probed: row.try_get::<_, bool>(11)?.then_some(found),
    }))
}

pub(super) fn of_rows(rows: &[Row]) -> Result<Vec<Asset>> {
    let assets = rows.iter().map(of_row).collect::<Result<Vec<_>>>()?;
    Ok(assets.into_iter().flatten().collect())
}

pub(super) async fn used_by(client: &impl GenericClient, owner: &str) -> Result<u64> {
    Ok(stored_by(client, owner, "").await? + uploads::promised_to(client, owner).await?)
}

/// Bytes of all assets but one.
pub(super) async fn stored_by(client: &impl GenericClient, owner: &str, but: &str) -> Result<u64> {
    let statement = client.prepare_cached(USED).await?;
    Ok(count(client.query_one(&statement, &[&owner, &but]).await?.try_get(0)?))
}

/// Whoever counts what an owner has waits here for others that do.
pub(super) async fn lock_owner(transaction: &Transaction<'_>, owner: &str) -> Result<()> {
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('millrace owner ' || $1, 0))";
    let statement = transaction.prepare_cached(lock).await?;
    transaction.execute(&statement, &[&owner]).await?;
    Ok(())
}

pub(super) async fn commit(client: &mut Client, commit: &Commit, server: &str) -> Result<Outcome<Replaced>> {
    let Commit { new, condition, quota, turn, ends } = commit;
    let transaction = client.transaction().await?;
    if quota.is_some() {
        lock_owner(&transaction, &new.owner).await?;
    }
    if let Some(upload) = ends {
        // A server that lost the right to write to it may be doing the same.
        match uploads::lock(&transaction, upload).await? {
            None => return Ok(Err(Refused::Ended)),
            Some(Kind::Done) => return Ok(committed(&transaction, new).await?.ok_or(Refused::Finished)),
            Some(_) => {}
        }
    }
    let allowed = match look(&transaction, &new.key, condition, turn).await? {
        Ok((_, old)) => match quota {
            Some(quota) => {
                let others = stored_by(&transaction, &new.owner, new.key.as_str()).await?;
                if others.saturating_add(new.length) > *quota { Err(Refused::Quota) } else { Ok(old) }
            }
            None => Ok(old),
        },
        Err(refused) => Err(refused),
    };
    let old = match (allowed, ends) {
        (Ok(old), _) => old,
        (Err(refused), None) => return Ok(Err(refused)),
        (Err(refused), Some(upload)) => {
            uploads::end(&transaction, upload).await?;
            transaction.commit().await?;
            return Ok(Err(refused));
        }
    };
    let version = change(&transaction, &new.key, turn, server).await?;
    let created = old.as_ref().map_or(new.now, |old| old.created);
    put(&transaction, new, version, created).await?;
    if let Some(upload) = ends {
        uploads::mark_done(&transaction, upload, new.length).await?;
    }
    transaction.commit().await?;
    let asset = Asset {
        key: new.key.clone(),
        blob: new.blob.clone(),
        length: new.length,
        sha256: new.sha256,
        media_type: new.media_type.clone(),
        attachment: new.attachment,
        tags: new.tags.clone(),
        owner: new.owner.clone(),
        version,
        created,
        modified: new.now,
        probed: new.plain.then(Probed::default),
    };
    Ok(Ok(Replaced { asset, old }))
}

/// One that has been put in place before, if it still is.
async fn committed(transaction: &Transaction<'_>, new: &NewAsset) -> Result<Option<Replaced>> {
    let statement = transaction.prepare_cached(FIND).await?;
    let found = transaction.query_opt(&statement, &[&new.key.as_str()]).await?;
    let found = found.as_ref().map_or(Ok(None), of_row)?.filter(|found| found.blob == new.blob);
    Ok(found.map(|asset| Replaced { asset, old: None }))
}

/// What has become of a commit, when whoever was at it has come to an end of it. None: nothing.
pub(super) async fn settle(client: &mut Client, new: &NewAsset) -> Result<Option<Replaced>> {
    let transaction = client.transaction().await?;
    // It is taken back with the transaction.
    lock_key(&transaction, &new.key).await?;
    committed(&transaction, new).await
}

async fn put(transaction: &Transaction<'_>, new: &NewAsset, version: u64, created: i64) -> Result<()> {
    let statement = transaction.prepare_cached(REPLACE).await?;
    transaction
        .execute(
            &statement,
            &[
                &new.key.as_str(),
                &new.blob.as_str(),
                &number(new.length),
                &&new.sha256[..],
                &new.media_type,
                &new.attachment,
                &new.tags,
                &new.owner,
                &number(version),
                &created,
                &new.now,
                &new.plain,
            ],
        )
        .await?;
    Ok(())
}

pub(super) async fn remove(
    client: &mut Client,
    key: &AssetKey,
    condition: &Condition,
    turn: &Turn,
    server: &str,
) -> Result<Outcome<Option<Asset>>> {
    let transaction = client.transaction().await?;
    let old = match look(&transaction, key, condition, turn).await? {
        Ok((_, Some(old))) => old,
        // A removal of nothing takes its place in the order all the same.
        Ok((_, None)) => {
            overtake(&transaction, key, turn).await?;
            transaction.commit().await?;
            return Ok(Ok(None));
        }
        Err(refused) => return Ok(Err(refused)),
    };
    let version = change(&transaction, key, turn, server).await?;
    transaction.execute("DELETE FROM millrace_assets WHERE key = $1", &[&key.as_str()]).await?;
    transaction.commit().await?;
    Ok(Ok(Some(Asset { version, ..old })))
}

/// Waits for whoever is changing a key. Its version, and the turn of its last change.
async fn lock_key(transaction: &Transaction<'_>, key: &AssetKey) -> Result<Row> {
    let insert =
        "INSERT INTO millrace_versions (key, version, turn) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING";
    let statement = transaction.prepare_cached(insert).await?;
    transaction.execute(&statement, &[&key.as_str()]).await?;
    let lock = "SELECT version, turn FROM millrace_versions WHERE key = $1 FOR UPDATE";
    let statement = transaction.prepare_cached(lock).await?;
    Ok(transaction.query_one(&statement, &[&key.as_str()]).await?)
}

/// Locks a key, and says what is there, if the request may change it.
async fn look(
    transaction: &Transaction<'_>,
    key: &AssetKey,
    condition: &Condition,
    turn: &Turn,
) -> Result<Outcome<(u64, Option<Asset>)>> {
    let Place::Numbered(turn) = turn.0 else { return Ok(Err(Refused::Overtaken)) };
    let row = lock_key(transaction, key).await?;
    if row.try_get::<_, i64>(1)? > turn {
        return Ok(Err(Refused::Overtaken));
    }
    let statement = transaction.prepare_cached(FIND).await?;
    let found = transaction.query_opt(&statement, &[&key.as_str()]).await?;
    let old = found.as_ref().map_or(Ok(None), of_row)?;
    if !condition.holds(old.as_ref()) {
        return Ok(Err(Refused::Condition));
    }
    Ok(Ok((count(row.try_get(0)?), old)))
}

/// Nothing changes, but whoever came earlier must not change it any more.
async fn overtake(transaction: &Transaction<'_>, key: &AssetKey, turn: &Turn) -> Result<()> {
    let Place::Numbered(turn) = turn.0 else { return Ok(()) };
    let update = "UPDATE millrace_versions SET turn = $2 WHERE key = $1";
    let statement = transaction.prepare_cached(update).await?;
    transaction.execute(&statement, &[&key.as_str(), &turn]).await?;
    Ok(())
}

/// Counts a change, notes that caches have to hear of it, however soon we die, and tells other servers when it is so.
async fn change(transaction: &Transaction<'_>, key: &AssetKey, turn: &Turn, server: &str) -> Result<u64> {
    let Place::Numbered(turn) = turn.0 else { return Ok(0) };
    let count_up =
        "UPDATE millrace_versions SET version = version + 1, turn = $2, changed = clock_timestamp()
                    WHERE key = $1 RETURNING version";
    let statement = transaction.prepare_cached(count_up).await?;
    let version: i64 = transaction.query_one(&statement, &[&key.as_str(), &turn]).await?.try_get(0)?;
    let note = "INSERT INTO millrace_changed (key, version) VALUES ($1, $2)
                ON CONFLICT (key) DO UPDATE SET version = excluded.version";
    let statement = transaction.prepare_cached(note).await?;
    transaction.execute(&statement, &[&key.as_str(), &version]).await?;
    let statement = transaction.prepare_cached("SELECT pg_notify($1, $2)").await?;
    transaction.execute(&statement, &[&CHANGED, &format!("{server} {key}")]).await?;
    Ok(count(version))
}

pub(super) async fn list(postgres: &Postgres, listing: &Listing) -> Result<Page> {
    let mut query =
        concat!("SELECT ", columns!(), " FROM millrace_assets WHERE key > $1 AND key >= $2").to_owned();
    let end = behind(&listing.prefix);
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&listing.after, &listing.prefix];
    // Writing to a string cannot fail.
    if let Some(end) = &end {
        values.push(end);
        let _ = write!(query, " AND key < ${}", values.len());
    }
    if let Some(tag) = &listing.tag {
        values.push(tag);
        let _ = write!(query, " AND tags @> ARRAY[${}]", values.len());
    }
    let limit = i64::try_from(listing.limit.saturating_add(1)).unwrap_or(i64::MAX);
    values.push(&limit);
    let _ = write!(query, " ORDER BY key LIMIT ${}", values.len());
    Ok(Page::of(of_rows(&postgres.query(&query, &values).await?)?, listing.limit))
}
