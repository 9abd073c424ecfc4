//! The tables, and how older ones become them.

use rusqlite::Connection;

/// One step for each version, in order; what has been released is never changed.
const STEPS: [&str; 3] = [
    "
    CREATE TABLE assets (
        key TEXT PRIMARY KEY NOT NULL,
        blob TEXT NOT NULL UNIQUE,
        length INTEGER NOT NULL,
        sha256 BLOB NOT NULL,
        media_type TEXT NOT NULL,
        attachment INTEGER NOT NULL,
        tags TEXT NOT NULL,
        owner TEXT NOT NULL,
        version INTEGER NOT NULL,
        created INTEGER NOT NULL,
        modified INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX assets_owner ON assets (owner, length);
    CREATE TABLE tags (
        tag TEXT NOT NULL,
        key TEXT NOT NULL,
        PRIMARY KEY (tag, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE versions (
        key TEXT PRIMARY KEY NOT NULL,
        version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE changed (
        key TEXT PRIMARY KEY NOT NULL,
        version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE uploads (
        id TEXT PRIMARY KEY NOT NULL,
        key TEXT NOT NULL,
        length INTEGER,
        metadata TEXT NOT NULL,
        owner TEXT NOT NULL,
        kind TEXT NOT NULL,
        parts TEXT NOT NULL,
        checked INTEGER,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX uploads_expires ON uploads (expires);
    CREATE INDEX uploads_owner ON uploads (owner, length);
",
    "
    ALTER TABLE uploads ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
    UPDATE assets SET attachment = 1
        WHERE media_type LIKE '%/xml%' OR media_type LIKE '%+xml%' OR media_type LIKE 'text/xsl%';
",
    "
    ALTER TABLE uploads ADD COLUMN received INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE assets ADD COLUMN probed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE assets ADD COLUMN duration INTEGER;
    ALTER TABLE assets ADD COLUMN width INTEGER;
    ALTER TABLE assets ADD COLUMN height INTEGER;
    ALTER TABLE assets ADD COLUMN codecs TEXT NOT NULL DEFAULT '';
    CREATE INDEX assets_unprobed ON assets (probed) WHERE probed = 0;
    CREATE TABLE identity (name TEXT NOT NULL) STRICT;
    INSERT INTO identity (name) VALUES (lower(hex(randomblob(16))));
",
];

/// The version that this program writes.
#[cfg(test)]
const VERSION: i64 = STEPS.len() as i64;

/// False: it was written by a later version.
pub fn bring_up(connection: &mut Connection) -> rusqlite::Result<bool> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let Ok(done) = usize::try_from(found) else { return Ok(false) };
    let Some(missing) = STEPS.get(done..) else { return Ok(false) };
    for (step, version) in missing.iter().zip(found + 1..) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_versions_are_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(bring_up(&mut connection).unwrap());
        assert!(bring_up(&mut connection).unwrap(), "a second time, nothing is to be done");
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(!bring_up(&mut connection).unwrap());
    }
}
