//! The queue in PostgreSQL, for all servers that share it. A job is claimed with its row locked, so that no two servers have it; what is
//! bounded is counted with a lock that all who add take.

use deadpool_postgres::{Client, GenericClient, Transaction};
use futures_util::{FutureExt, future::BoxFuture};
use millrace_kit::metrics::Registry;
use tokio_postgres::Row;

use super::{
    AGEING, Added, Ending, Error, Job, Listing, NewJob, Priority, Queue, Result, Room, STOPPED, State,
};
use crate::{
    jobs::Lock,
    store::{
        self,
        database::{Config, Pool},
    },
};

pub struct Postgres {
    pool: Pool,
    lock: Lock,
}

/// One step for each version, in order; what has been released is never changed.
const STEPS: [&str; 1] = ["
    CREATE TABLE millrace_jobs (
        number bigserial PRIMARY KEY,
        id text NOT NULL UNIQUE,
        owner text NOT NULL,
        preset text NOT NULL,
        work text NOT NULL,
        priority bigint NOT NULL,
        state text NOT NULL,
        attempts bigint NOT NULL,
        created bigint NOT NULL,
        due bigint NOT NULL,
        started bigint,
        finished bigint,
        detail text,
        result text,
        progress double precision NOT NULL DEFAULT 0,
        worker text,
        until bigint,
        idempotency text,
        UNIQUE (owner, idempotency)
    );
    CREATE INDEX millrace_jobs_state ON millrace_jobs (state, due);
    CREATE INDEX millrace_jobs_owner ON millrace_jobs (owner, state);
    CREATE INDEX millrace_jobs_finished ON millrace_jobs (finished);
    CREATE SEQUENCE millrace_job_turn;
    CREATE TABLE millrace_job_turns (
        owner text PRIMARY KEY,
        turn bigint NOT NULL
    );
"];

macro_rules! columns {
    () => {
        "id, owner, preset, work, priority, state, attempts, created, due, started, finished, detail, result, progress"
    };
}

const FIND: &str = concat!("SELECT ", columns!(), " FROM millrace_jobs WHERE id = $1");
const KNOWN: &str =
    concat!("SELECT ", columns!(), " FROM millrace_jobs WHERE owner = $1 AND idempotency = $2");
/// Until the end of the transaction.
const ONE_ADDS: &str = "SELECT pg_advisory_xact_lock(hashtextextended('millrace jobs', 0))";
const INSERT: &str = concat!(
    "INSERT INTO millrace_jobs
        (id, owner, preset, work, priority, state, attempts, created, due, idempotency)
     VALUES ($1, $2, $3, $4, $5, 'queued', 0, $6, $6, $7) RETURNING ",
    columns!()
);
const WAITING: &str = "SELECT count(*) FROM millrace_jobs WHERE state = 'queued'";
const OWN: &str = "SELECT count(*) FROM millrace_jobs WHERE owner = $1 AND state IN ('queued', 'running')";
const NEXT: &str = "
    SELECT jobs.number, jobs.owner FROM millrace_jobs AS jobs
    LEFT JOIN (SELECT owner, count(*) AS running FROM millrace_jobs WHERE state = 'running' GROUP BY owner)
        AS busy ON busy.owner = jobs.owner
    LEFT JOIN millrace_job_turns AS turns ON turns.owner = jobs.owner
    WHERE state = 'queued' AND due <= $1
    ORDER BY least(priority + greatest($1 - created, 0) / $2::bigint, $3::bigint) DESC, coalesce(running, 0),
        coalesce(turn, 0), number
    LIMIT 1 FOR UPDATE OF jobs SKIP LOCKED";
const TURN: &str = "
    INSERT INTO millrace_job_turns (owner, turn) VALUES ($1, nextval('millrace_job_turn'))
    ON CONFLICT (owner) DO UPDATE SET turn = excluded.turn";
const BEGIN: &str = concat!(
    "UPDATE millrace_jobs SET state = 'running', attempts = attempts + 1, started = $2, worker = $3,
        until = $4, progress = 0
     WHERE number = $1 RETURNING ",
    columns!()
);
const RENEW: &str = "UPDATE millrace_jobs SET until = $3, progress = $4
     WHERE id = $1 AND worker = $2 AND state = 'running'";
const OVER: &str = "
    UPDATE millrace_jobs SET state = $3, finished = $4, detail = $5, result = $6, worker = NULL, until = NULL
    WHERE id = $1 AND worker = $2 AND state = 'running'";
const AGAIN: &str = "
    UPDATE millrace_jobs SET state = 'queued', due = $3, detail = $4, worker = NULL, until = NULL
    WHERE id = $1 AND worker = $2 AND state = 'running'";
const RELEASE: &str = "
    UPDATE millrace_jobs SET state = 'queued', attempts = attempts - 1, due = $3, worker = NULL, until = NULL
    WHERE id = $1 AND worker = $2 AND state = 'running'";
const CANCEL: &str = "
    UPDATE millrace_jobs SET state = 'cancelled', finished = $2, worker = NULL, until = NULL
    WHERE id = $1 AND state IN ('queued', 'running')";
const REVIVE: &str =
    "UPDATE millrace_jobs SET state = 'queued', attempts = 0, due = $2, finished = NULL WHERE id = $1";
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM millrace_jobs
     WHERE ($1::text IS NULL OR owner = $1) AND ($2::text IS NULL OR state = $2)
       AND ($3::text IS NULL OR number < (SELECT number FROM millrace_jobs WHERE id = $3))
     ORDER BY number DESC LIMIT $4"
);
const LEFT_DEAD: &str = "
    UPDATE millrace_jobs SET state = 'dead', finished = $1, detail = $3, worker = NULL, until = NULL
    WHERE state = 'running' AND until <= $1 AND attempts >= $2";
const LEFT: &str = "
    UPDATE millrace_jobs SET state = 'queued', worker = NULL, until = NULL
    WHERE state = 'running' AND until <= $1";
const PRUNE: &str = "
    DELETE FROM millrace_jobs WHERE finished IS NOT NULL AND (finished < $1 OR number <= coalesce(
        (SELECT number FROM millrace_jobs WHERE finished IS NOT NULL ORDER BY number DESC LIMIT 1 OFFSET $2), 0))";
const PRUNE_TURNS: &str =
    "DELETE FROM millrace_job_turns WHERE owner NOT IN (SELECT owner FROM millrace_jobs)";

impl Postgres {
    /// Connects, and brings the tables up to date. `lock`: of what this server has for itself.
    pub async fn open(config: &Config, lock: Lock, registry: &Registry) -> Result<Self> {
        let pool = Pool::open(config, registry)?;
        bring_up(&mut *pool.get().await?).await?;
        Ok(Self { pool, lock })
    }
}

/// One server at a time.
async fn bring_up(client: &mut Client) -> Result<()> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(ONE_ADDS).await?;
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS millrace_jobs_schema (version bigint NOT NULL)")
        .await?;
    let row =
        transaction.query_one("SELECT coalesce(max(version), 0) FROM millrace_jobs_schema", &[]).await?;
    let found: i64 = row.try_get(0)?;
    let missing = usize::try_from(found).ok().and_then(|done| STEPS.get(done..));
    let missing = missing.ok_or_else(|| Error::TooNew("the queue of jobs in PostgreSQL".to_owned()))?;
    for (step, version) in missing.iter().zip(found + 1..) {
        transaction.batch_execute(step).await?;
        transaction.execute("INSERT INTO millrace_jobs_schema (version) VALUES ($1)", &[&version]).await?;
    }
    Ok(transaction.commit().await?)
}

fn of_row(row: &Row) -> Result<Job> {
    let state: &str = row.try_get(5)?;
    Ok(Job {
        id: row.try_get(0)?,
        owner: row.try_get(1)?,
        preset: row.try_get(2)?,
        work: row.try_get(3)?,
        priority: Priority::of_rank(row.try_get(4)?),
        state: State::parse(state).unwrap_or(State::Failed),
        attempts: u32::try_from(row.try_get::<_, i64>(6)?).unwrap_or(0),
        created: row.try_get(7)?,
        due: row.try_get(8)?,
        started: row.try_get(9)?,
        finished: row.try_get(10)?,
        detail: row.try_get(11)?,
        result: row.try_get(12)?,
        progress: row.try_get(13)?,
    })
}

async fn find(client: &impl GenericClient, id: &str) -> Result<Option<Job>> {
    let statement = client.prepare_cached(FIND).await?;
    client.query_opt(&statement, &[&id]).await?.as_ref().map(of_row).transpose()
}

async fn count(client: &impl GenericClient, query: &str, values: Values<'_>) -> Result<usize> {
    let statement = client.prepare_cached(query).await?;
    let count: i64 = client.query_one(&statement, values).await?.try_get(0)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

async fn add(transaction: &Transaction<'_>, new: &NewJob, room: Room) -> Result<Added> {
    transaction.batch_execute(ONE_ADDS).await?;
    if let Some(key) = &new.idempotency {
        let known = transaction.query_opt(KNOWN, &[&new.owner, key]).await?;
        if let Some(known) = known.as_ref().map(of_row).transpose()? {
            let same = known.work == new.work && known.priority == new.priority;
            return Ok(if same { Added::Same(known) } else { Added::Other });
        }
    }
    if let Some(refused) = bounded(transaction, &new.owner, room).await? {
        return Ok(refused);
    }
    let statement = transaction.prepare_cached(INSERT).await?;
    let rank = new.priority.rank();
    let values: Values<'_> =
        &[&new.id, &new.owner, &new.preset, &new.work, &rank, &new.now, &new.idempotency];
    Ok(Added::New(of_row(&transaction.query_one(&statement, values).await?)?))
}

/// Why there is no room for one more.
async fn bounded(transaction: &Transaction<'_>, owner: &str, room: Room) -> Result<Option<Added>> {
    if count(transaction, WAITING, &[]).await? >= room.all {
        return Ok(Some(Added::Full));
    }
    let own = count(transaction, OWN, &[&owner]).await?;
    Ok((own >= room.owner).then_some(Added::OwnerFull))
}

async fn revive(transaction: &Transaction<'_>, id: &str, now: i64, room: Room) -> Result<Option<Added>> {
    transaction.batch_execute(ONE_ADDS).await?;
    let Some(before) = find(transaction, id).await? else { return Ok(None) };
    if !before.state.is_over() || before.state == State::Succeeded {
        return Ok(Some(Added::Same(before)));
    }
    if let Some(refused) = bounded(transaction, &before.owner, room).await? {
        return Ok(Some(refused));
    }
    transaction.execute(REVIVE, &[&id, &now]).await?;
    Ok(Some(Added::New(before)))
}

async fn claim(transaction: &Transaction<'_>, worker: &str, now: i64, until: i64) -> Result<Option<Job>> {
    let statement = transaction.prepare_cached(NEXT).await?;
    let next = transaction.query_opt(&statement, &[&now, &AGEING, &Priority::High.rank()]).await?;
    let Some(next) = next else { return Ok(None) };
    let (number, owner): (i64, &str) = (next.try_get(0)?, next.try_get(1)?);
    transaction.execute(TURN, &[&owner]).await?;
    let statement = transaction.prepare_cached(BEGIN).await?;
    let begun = transaction.query_one(&statement, &[&number, &now, &worker, &until]).await?;
    of_row(&begun).map(Some)
}

type Values<'a> = &'a [&'a (dyn tokio_postgres::types::ToSql + Sync)];

impl Queue for Postgres {
    fn is_shared(&self) -> bool {
        true
    }

    fn add(&self, new: NewJob, room: Room) -> BoxFuture<'_, Result<Added>> {
        async move {
            let mut client = self.pool.get().await?;
            let transaction = client.transaction().await?;
            let added = add(&transaction, &new, room).await?;
            transaction.commit().await?;
            Ok(added)
        }
        .boxed()
    }

    fn claim<'a>(&'a self, worker: &'a str, now: i64, until: i64) -> BoxFuture<'a, Result<Option<Job>>> {
        async move {
            let mut client = self.pool.get().await?;
            let transaction = client.transaction().await?;
            let claimed = claim(&transaction, worker, now, until).await?;
            transaction.commit().await?;
            Ok(claimed)
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        id: &'a str,
        worker: &'a str,
        until: i64,
        progress: f64,
    ) -> BoxFuture<'a, Result<bool>> {
        async move {
            let client = self.pool.get().await?;
            Ok(client.execute(RENEW, &[&id, &worker, &until, &progress]).await? > 0)
        }
        .boxed()
    }

    fn end<'a>(
        &'a self,
        id: &'a str,
        worker: &'a str,
        ending: Ending,
        now: i64,
    ) -> BoxFuture<'a, Result<bool>> {
        async move {
            let client = self.pool.get().await?;
            let (state, detail, result) = match ending {
                Ending::Again { due, detail } => {
                    return Ok(client.execute(AGAIN, &[&id, &worker, &due, &detail]).await? > 0);
                }
                Ending::Released { due } => {
                    return Ok(client.execute(RELEASE, &[&id, &worker, &due]).await? > 0);
                }
                Ending::Succeeded { result } => (State::Succeeded, None, Some(result)),
                Ending::Failed { detail } => (State::Failed, Some(detail), None),
                Ending::Dead { detail } => (State::Dead, Some(detail), None),
            };
            let values: Values<'_> = &[&id, &worker, &state.as_str(), &now, &detail, &result];
            let ended = client.execute(OVER, values).await?;
            Ok(ended > 0)
        }
        .boxed()
    }

    fn cancel<'a>(&'a self, id: &'a str, now: i64) -> BoxFuture<'a, Result<Option<Job>>> {
        async move {
            let mut client = self.pool.get().await?;
            let transaction = client.transaction().await?;
            let before = find(&transaction, id).await?;
            transaction.execute(CANCEL, &[&id, &now]).await?;
            transaction.commit().await?;
            Ok(before)
        }
        .boxed()
    }

    fn revive<'a>(&'a self, id: &'a str, now: i64, room: Room) -> BoxFuture<'a, Result<Option<Added>>> {
        async move {
            let mut client = self.pool.get().await?;
            let transaction = client.transaction().await?;
            let revived = revive(&transaction, id, now, room).await?;
            transaction.commit().await?;
            Ok(revived)
        }
        .boxed()
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Job>>> {
        async move { find(&*self.pool.get().await?, id).await }.boxed()
    }

    fn list(&self, listing: Listing) -> BoxFuture<'_, Result<Vec<Job>>> {
        async move {
            let client = self.pool.get().await?;
            let statement = client.prepare_cached(LIST).await?;
            let state = listing.state.map(State::as_str);
            let limit = i64::try_from(listing.limit).unwrap_or(i64::MAX);
            let values: Values<'_> = &[&listing.owner, &state, &listing.after, &limit];
            client.query(&statement, values).await?.iter().map(of_row).collect()
        }
        .boxed()
    }

    fn reclaim(&self, now: i64, attempts: u32) -> BoxFuture<'_, Result<usize>> {
        async move {
            let mut client = self.pool.get().await?;
            let transaction = client.transaction().await?;
            let dead = transaction.execute(LEFT_DEAD, &[&now, &i64::from(attempts), &STOPPED]).await?;
            let again = transaction.execute(LEFT, &[&now]).await?;
            transaction.commit().await?;
            Ok(usize::try_from(dead + again).unwrap_or(usize::MAX))
        }
        .boxed()
    }

    fn waiting(&self) -> BoxFuture<'_, Result<usize>> {
        async move { count(&*self.pool.get().await?, WAITING, &[]).await }.boxed()
    }

    fn prune(&self, before: i64, most: usize) -> BoxFuture<'_, Result<usize>> {
        async move {
            let client = self.pool.get().await?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let gone = client.execute(PRUNE, &[&before, &most]).await?;
            client.execute(PRUNE_TURNS, &[]).await?;
            Ok(usize::try_from(gone).unwrap_or(usize::MAX))
        }
        .boxed()
    }

    fn close(&self) {
        self.lock.give_back();
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(detail) => Self::Unavailable(detail),
            other => Self::Engine(other.to_string()),
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        store::Error::from(error).into()
    }
}
