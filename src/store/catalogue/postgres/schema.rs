//! The tables, and how older ones become them.

use deadpool_postgres::Client;

use super::super::{super::Error, Result};

/// One step for each version, in order; what has been released is never changed. Keys are compared by their bytes.
const STEPS: [&str; 1] = ["
    CREATE TABLE millrace_assets (
        key text COLLATE \"C\" PRIMARY KEY,
        blob text NOT NULL UNIQUE,
        length bigint NOT NULL,
        sha256 bytea NOT NULL,
        media_type text NOT NULL,
        attachment boolean NOT NULL,
        tags text[] NOT NULL,
        owner text NOT NULL,
        version bigint NOT NULL,
        created bigint NOT NULL,
        modified bigint NOT NULL,
        probed boolean NOT NULL DEFAULT false,
        duration bigint,
        width bigint,
        height bigint,
        codecs text[] NOT NULL DEFAULT '{}'
    );
    CREATE INDEX millrace_assets_owner ON millrace_assets (owner) INCLUDE (length);
    CREATE INDEX millrace_assets_tags ON millrace_assets USING gin (tags);
    CREATE INDEX millrace_assets_unprobed ON millrace_assets (key) WHERE NOT probed;
    CREATE TABLE millrace_versions (
        key text COLLATE \"C\" PRIMARY KEY,
        version bigint NOT NULL,
        turn bigint NOT NULL,
        changed timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX millrace_versions_changed ON millrace_versions (changed);
    CREATE SEQUENCE millrace_turns;
    CREATE TABLE millrace_changed (
        key text COLLATE \"C\" PRIMARY KEY,
        version bigint NOT NULL
    );
    CREATE TABLE millrace_uploads (
        id text PRIMARY KEY,
        key text NOT NULL,
        length bigint,
        received bigint NOT NULL,
        metadata text NOT NULL,
        owner text NOT NULL,
        kind text NOT NULL,
        parts text[] NOT NULL,
        checked bigint,
        created bigint NOT NULL,
        expires bigint NOT NULL,
        seen bigint NOT NULL
    );
    CREATE INDEX millrace_uploads_expires ON millrace_uploads (expires);
    CREATE INDEX millrace_uploads_owner ON millrace_uploads (owner) WHERE kind <> 'done';
    CREATE TABLE millrace_identity (name text NOT NULL);
    INSERT INTO millrace_identity (name) VALUES (replace(gen_random_uuid()::text, '-', ''));
"];

/// One server at a time.
pub(super) async fn bring_up(client: &mut Client) -> Result<()> {
    let transaction = client.transaction().await?;
    transaction.batch_execute("SELECT pg_advisory_xact_lock(hashtextextended('millrace schema', 0))").await?;
    transaction.batch_execute("CREATE TABLE IF NOT EXISTS millrace_schema (version bigint NOT NULL)").await?;
    let row = transaction.query_one("SELECT coalesce(max(version), 0) FROM millrace_schema", &[]).await?;
    let found: i64 = row.try_get(0)?;
    let missing = usize::try_from(found).ok().and_then(|done| STEPS.get(done..));
    let Some(missing) = missing else {
        return Err(Error::TooNew("the catalogue in PostgreSQL".to_owned()));
    };
    for (step, version) in missing.iter().zip(found + 1..) {
        transaction.batch_execute(step).await?;
        transaction.execute("INSERT INTO millrace_schema (version) VALUES ($1)", &[&version]).await?;
    }
    Ok(transaction.commit().await?)
}
