//! One thread that writes, and connections for reading. Writes that wait for the thread together are one transaction, so
//! that many small commits share the waiting for the disk.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{Error, Result},
    schema,
};

/// Writes in one transaction.
const BATCH: usize = 128;
/// Writes that may wait; more wait for room.
const WAITING: usize = 1024;
/// Reading connections that are kept.
const READERS: usize = 4;

/// Does its work within the transaction, and says the result when that is durable.
type Job = Box<dyn FnOnce(&Connection) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<()>) + Send>;

pub struct Engine {
    jobs: mpsc::Sender<Job>,
    readers: Arc<Readers>,
}

struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Engine {
    pub fn open(path: &Path) -> Result<Self> {
        let connection = Self::connect(path, OpenFlags::default())?;
        let (jobs, waiting) = mpsc::channel(WAITING);
        let thread = thread::Builder::new().name("catalogue".to_owned());
        thread.spawn(move || write_all(&connection, waiting)).map_err(Error::io("starting the catalogue"))?;
        let readers = Arc::new(Readers { path: path.to_owned(), idle: Mutex::default() });
        Ok(Self { jobs, readers })
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        // Each commit is on the disk before it is told of.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        if !schema::bring_up(&mut connection)? {
            return Err(Error::TooNew(path.display().to_string()));
        }
        Ok(connection)
    }

    /// What the work returns is true once it is told. Work that fails leaves nothing.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (told, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let done = in_savepoint(connection, work);
            Box::new(move |durable| {
                let _ = told.send(durable.and_then(|()| done.map_err(Error::from)));
            })
        });
        let ended = || Error::Catalogue("it has ended".to_owned());
        self.jobs.send(job).await.map_err(|_| ended())?;
        result.await.map_err(|_| ended())?
    }

    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = self.readers.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let idle = readers.idle.lock().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => Self::connect(&readers.path, OpenFlags::default())?,
            };
            let result = work(&connection)?;
            let mut idle = readers.idle.lock();
            if idle.len() < READERS {
                idle.push(connection);
            }
            Ok(result)
        });
        reading.await.map_err(|stopped| Error::Catalogue(stopped.to_string()))?
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    if connection.is_autocommit() {
        // What came before in this transaction has undone it, as a full disk does.
        return Err(rusqlite::Error::ExecuteReturnedResults);
    }
    connection.execute_batch("SAVEPOINT job")?;
    let done = work(connection);
    let end = if done.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    connection.execute_batch(end)?;
    done
}

/// Until the catalogue is closed.
fn write_all(connection: &Connection, mut waiting: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(BATCH);
    while waiting.blocking_recv_many(&mut jobs, BATCH) > 0 {
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        let answers: Vec<_> = jobs.drain(..).map(|job| job(connection)).collect();
        let durable = begun.and_then(|()| connection.execute_batch("COMMIT")).map_err(Error::from);
        if let Err(error) = &durable {
            tracing::error!("the catalogue cannot be written: {error}");
            let _ = connection.execute_batch("ROLLBACK");
        }
        answers.into_iter().for_each(|answer| answer(durable.clone()));
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Catalogue(error.to_string()),
        }
    }
}

/// SQLite's integers are signed; nothing of ours is as large.
pub fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
