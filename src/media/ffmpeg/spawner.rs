//! Starts processes from a thread that has shut itself in: what it starts is shut in as well. Nothing else runs there, and the
//! server itself stays free.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, mpsc};
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::confine;

#[derive(Debug)]
pub(super) struct Spawner {
    program: PathBuf,
    /// What it may read and write besides.
    folder: Option<PathBuf>,
    /// Of the thread, which begins with the first process and ends with this.
    jobs: OnceLock<mpsc::Sender<Job>>,
}

#[derive(Debug)]
struct Job {
    command: Command,
    runtime: Handle,
    started: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    pub(super) fn new(program: &Path, folder: Option<&Path>) -> Self {
        Self { program: program.to_owned(), folder: folder.map(Path::to_owned), jobs: OnceLock::new() }
    }

    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts processes is gone");
        let (started, child) = oneshot::channel();
        let job = Job { command, runtime: Handle::current(), started };
        self.jobs
            .get_or_init(|| begin(self.program.clone(), self.folder.clone()))
            .send(job)
            .map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}

fn begin(program: PathBuf, folder: Option<PathBuf>) -> mpsc::Sender<Job> {
    let (jobs, waiting) = mpsc::channel::<Job>();
    let work = move || {
        if let Err(error) = confine::this_thread(&program, folder.as_deref()) {
            // Rather no videos than an open door.
            tracing::error!("ffmpeg cannot be confined, and is not started: {error}");
            return;
        }
        for Job { mut command, runtime, started } in waiting {
            let _entered = runtime.enter();
            // Whoever asked may be gone; then the process is killed with its handle.
            let _ = started.send(command.spawn());
        }
    };
    if let Err(error) = thread::Builder::new().name("spawner".to_owned()).spawn(work) {
        tracing::error!("starting the thread that starts processes: {error}");
    }
    jobs
}
