//! The queue in a file of its own. One connection: jobs come and go by the second, not by the microsecond.

use std::{path::Path, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::{
    AGEING, Added, Ending, Error, Job, Listing, NewJob, Priority, Queue, Result, Room, STOPPED, State,
};
use crate::jobs::Lock;

pub struct Sqlite {
    connection: Arc<Mutex<Connection>>,
    lock: Lock,
}

/// One step for each version, in order; what has been released is never changed.
const STEPS: [&str; 2] = [
    "
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        preset TEXT NOT NULL,
        work TEXT NOT NULL,
        priority INTEGER NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        created INTEGER NOT NULL,
        due INTEGER NOT NULL,
        started INTEGER,
        finished INTEGER,
        detail TEXT,
        result TEXT,
        worker TEXT,
        until INTEGER,
        idempotency TEXT,
        UNIQUE (owner, idempotency)
    ) STRICT;
    CREATE INDEX jobs_state ON jobs (state, priority, due);
    CREATE INDEX jobs_owner ON jobs (owner, state);
    CREATE INDEX jobs_finished ON jobs (finished);
    CREATE TABLE turns (
        owner TEXT PRIMARY KEY NOT NULL,
        turn INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "ALTER TABLE jobs ADD COLUMN progress REAL NOT NULL DEFAULT 0",
];

const COLUMNS: &str = "id, owner, preset, work, priority, state, attempts, created, due, started, finished, \
                       detail, result, progress";

impl Sqlite {
    /// Makes the directory if need be. What ran under the server before waits again from then on. Blocks.
    pub fn open(dir: &Path) -> Result<Self> {
        let lock = Lock::take(dir)?;
        let path = dir.join("jobs.sqlite");
        let mut connection = Connection::open(&path)?;
        // What is told of is on the disk.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        if !bring_up(&mut connection)? {
            return Err(Error::TooNew(path.display().to_string()));
        }
        // With the lock held, whoever had them is gone.
        connection.execute("UPDATE jobs SET until = 0 WHERE state = 'running'", [])?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), lock })
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let connection = self.connection.clone();
        let work = move || {
            let mut connection = connection.lock();
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        let running = tokio::task::spawn_blocking(work);
        async move { running.await.map_err(|stopped| Error::Engine(stopped.to_string()))? }.boxed()
    }
}

fn bring_up(connection: &mut Connection) -> rusqlite::Result<bool> {
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

fn of_row(row: &Row<'_>) -> rusqlite::Result<Job> {
    let state: String = row.get(5)?;
    Ok(Job {
        id: row.get(0)?,
        owner: row.get(1)?,
        preset: row.get(2)?,
        work: row.get(3)?,
        priority: Priority::of_rank(row.get(4)?),
        state: State::parse(&state).unwrap_or(State::Failed),
        attempts: row.get(6)?,
        created: row.get(7)?,
        due: row.get(8)?,
        started: row.get(9)?,
        finished: row.get(10)?,
        detail: row.get(11)?,
        result: row.get(12)?,
        progress: row.get(13)?,
    })
}

fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<Job>> {
    let query = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1");
    connection.prepare_cached(&query)?.query_row([id], of_row).optional()
}

fn count(connection: &Connection, of: &str, values: impl rusqlite::Params) -> rusqlite::Result<usize> {
    let query = format!("SELECT count(*) FROM jobs WHERE {of}");
    let count: i64 = connection.prepare_cached(&query)?.query_row(values, |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn add(connection: &Connection, new: &NewJob, room: Room) -> rusqlite::Result<Added> {
    if let Some(key) = &new.idempotency {
        let query = format!("SELECT {COLUMNS} FROM jobs WHERE owner = ?1 AND idempotency = ?2");
        let known = connection.query_row(&query, [&new.owner, key], of_row).optional()?;
        if let Some(known) = known {
            let same = known.work == new.work && known.priority == new.priority;
            return Ok(if same { Added::Same(known) } else { Added::Other });
        }
    }
    if let Some(refused) = bounded(connection, &new.owner, room)? {
        return Ok(refused);
    }
    let insert =
        "INSERT INTO jobs (id, owner, preset, work, priority, state, attempts, created, due, idempotency)
                  VALUES (?1, ?2, ?3, ?4, ?5, 'queued', 0, ?6, ?6, ?7)";
    connection.prepare_cached(insert)?.execute(params![
        new.id,
        new.owner,
        new.preset,
        new.work,
        new.priority.rank(),
        new.now,
        new.idempotency,
    ])?;
    find(connection, &new.id)?.map(Added::New).ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Why there is no room for one more.
fn bounded(connection: &Connection, owner: &str, room: Room) -> rusqlite::Result<Option<Added>> {
    if count(connection, "state = 'queued'", [])? >= room.all {
        return Ok(Some(Added::Full));
    }
    let own = count(connection, "owner = ?1 AND state IN ('queued', 'running')", [owner])?;
    Ok((own >= room.owner).then_some(Added::OwnerFull))
}

fn revive(connection: &Connection, id: &str, now: i64, room: Room) -> rusqlite::Result<Option<Added>> {
    let Some(before) = find(connection, id)? else { return Ok(None) };
    if !before.state.is_over() || before.state == State::Succeeded {
        return Ok(Some(Added::Same(before)));
    }
    if let Some(refused) = bounded(connection, &before.owner, room)? {
        return Ok(Some(refused));
    }
    let revive = "UPDATE jobs SET state = 'queued', attempts = 0, due = ?2, finished = NULL WHERE id = ?1";
    connection.execute(revive, params![id, now])?;
    Ok(Some(Added::New(before)))
}

fn claim(connection: &Connection, worker: &str, now: i64, until: i64) -> rusqlite::Result<Option<Job>> {
    let next = "SELECT jobs.number, jobs.owner FROM jobs
                LEFT JOIN (SELECT owner, count(*) AS running FROM jobs WHERE state = 'running' GROUP BY owner)
                    AS busy ON busy.owner = jobs.owner
                LEFT JOIN turns ON turns.owner = jobs.owner
                WHERE state = 'queued' AND due <= ?1
                ORDER BY min(priority + max(?1 - created, 0) / ?2, ?3) DESC, coalesce(running, 0),
                    coalesce(turn, 0), number
                LIMIT 1";
    let row = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
    let Some((number, owner)) = connection
        .prepare_cached(next)?
        .query_row(params![now, AGEING, Priority::High.rank()], row)
        .optional()?
    else {
        return Ok(None);
    };
    let turn = "INSERT INTO turns (owner, turn) SELECT ?1, coalesce(max(turn), 0) + 1 FROM turns WHERE true
                ON CONFLICT (owner) DO UPDATE SET turn = excluded.turn";
    connection.prepare_cached(turn)?.execute([&owner])?;
    let begin = format!(
        "UPDATE jobs SET state = 'running', attempts = attempts + 1, started = ?2, worker = ?3, until = ?4,
             progress = 0
         WHERE number = ?1 RETURNING {COLUMNS}"
    );
    let begun = params![number, now, worker, until];
    connection.prepare_cached(&begin)?.query_row(begun, of_row).optional()
}

fn end(connection: &Connection, id: &str, worker: &str, ending: Ending, now: i64) -> rusqlite::Result<bool> {
    const MINE: &str = "worker = NULL, until = NULL WHERE id = ?1 AND worker = ?2 AND state = 'running'";
    let over = |state: State, detail: Option<String>, result: Option<String>| {
        let update = format!("UPDATE jobs SET state = ?3, finished = ?4, detail = ?5, result = ?6, {MINE}");
        connection.execute(&update, params![id, worker, state.as_str(), now, detail, result])
    };
    let ended = match ending {
        Ending::Succeeded { result } => over(State::Succeeded, None, Some(result))?,
        Ending::Failed { detail } => over(State::Failed, Some(detail), None)?,
        Ending::Dead { detail } => over(State::Dead, Some(detail), None)?,
        Ending::Again { due, detail } => {
            let update = format!("UPDATE jobs SET state = 'queued', due = ?3, detail = ?4, {MINE}");
            connection.execute(&update, params![id, worker, due, detail])?
        }
        Ending::Released { due } => {
            let update =
                format!("UPDATE jobs SET state = 'queued', attempts = attempts - 1, due = ?3, {MINE}");
            connection.execute(&update, params![id, worker, due])?
        }
    };
    Ok(ended > 0)
}

fn list(connection: &Connection, listing: &Listing) -> rusqlite::Result<Vec<Job>> {
    let query = format!(
        "SELECT {COLUMNS} FROM jobs
         WHERE (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR state = ?2)
           AND (?3 IS NULL OR number < (SELECT number FROM jobs WHERE id = ?3))
         ORDER BY number DESC LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&query)?;
    let values = params![
        listing.owner,
        listing.state.map(State::as_str),
        listing.after,
        i64::try_from(listing.limit).unwrap_or(i64::MAX)
    ];
    statement.query_map(values, of_row)?.collect()
}

fn prune(connection: &Connection, before: i64, most: usize) -> rusqlite::Result<usize> {
    let old = "finished IS NOT NULL AND (finished < ?1 OR number <= coalesce((SELECT number FROM jobs
               WHERE finished IS NOT NULL ORDER BY number DESC LIMIT 1 OFFSET ?2), 0))";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let gone = connection.execute(&format!("DELETE FROM jobs WHERE {old}"), params![before, most])?;
    connection.execute("DELETE FROM turns WHERE owner NOT IN (SELECT owner FROM jobs)", [])?;
    Ok(gone)
}

impl Queue for Sqlite {
    fn add(&self, new: NewJob, room: Room) -> BoxFuture<'_, Result<Added>> {
        self.run(move |connection| add(connection, &new, room))
    }

    fn claim<'a>(&'a self, worker: &'a str, now: i64, until: i64) -> BoxFuture<'a, Result<Option<Job>>> {
        let worker = worker.to_owned();
        self.run(move |connection| claim(connection, &worker, now, until))
    }

    fn renew<'a>(
        &'a self,
        id: &'a str,
        worker: &'a str,
        until: i64,
        progress: f64,
    ) -> BoxFuture<'a, Result<bool>> {
        let (id, worker) = (id.to_owned(), worker.to_owned());
        self.run(move |connection| {
            let renew = "UPDATE jobs SET until = ?3, progress = ?4
                         WHERE id = ?1 AND worker = ?2 AND state = 'running'";
            Ok(connection.execute(renew, params![id, worker, until, progress])? > 0)
        })
    }

    fn end<'a>(
        &'a self,
        id: &'a str,
        worker: &'a str,
        ending: Ending,
        now: i64,
    ) -> BoxFuture<'a, Result<bool>> {
        let (id, worker) = (id.to_owned(), worker.to_owned());
        self.run(move |connection| end(connection, &id, &worker, ending, now))
    }

    fn cancel<'a>(&'a self, id: &'a str, now: i64) -> BoxFuture<'a, Result<Option<Job>>> {
        let id = id.to_owned();
        self.run(move |connection| {
            let before = find(connection, &id)?;
            let cancel = "UPDATE jobs SET state = 'cancelled', finished = ?2, worker = NULL, until = NULL
                          WHERE id = ?1 AND state IN ('queued', 'running')";
            connection.execute(cancel, params![id, now])?;
            Ok(before)
        })
    }

    fn revive<'a>(&'a self, id: &'a str, now: i64, room: Room) -> BoxFuture<'a, Result<Option<Added>>> {
        let id = id.to_owned();
        self.run(move |connection| revive(connection, &id, now, room))
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Job>>> {
        let id = id.to_owned();
        self.run(move |connection| find(connection, &id))
    }

    fn list(&self, listing: Listing) -> BoxFuture<'_, Result<Vec<Job>>> {
        self.run(move |connection| list(connection, &listing))
    }

    fn reclaim(&self, now: i64, attempts: u32) -> BoxFuture<'_, Result<usize>> {
        self.run(move |connection| {
            let dead =
                "UPDATE jobs SET state = 'dead', finished = ?1, detail = ?3, worker = NULL, until = NULL
                        WHERE state = 'running' AND until <= ?1 AND attempts >= ?2";
            let dead = connection.execute(dead, params![now, attempts, STOPPED])?;
            let again = "UPDATE jobs SET state = 'queued', worker = NULL, until = NULL
                         WHERE state = 'running' AND until <= ?1";
            Ok(dead + connection.execute(again, [now])?)
        })
    }

    fn waiting(&self) -> BoxFuture<'_, Result<usize>> {
        self.run(|connection| count(connection, "state = 'queued'", []))
    }

    fn prune(&self, before: i64, most: usize) -> BoxFuture<'_, Result<usize>> {
        self.run(move |connection| prune(connection, before, most))
    }

    fn close(&self) {
        self.lock.give_back();
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error.to_string())
    }
}
