//! A real PostgreSQL in a directory of its own, reached through a socket there. `scripts/deps.sh test` installs it.

use std::{
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

/// Stops when dropped.
pub(crate) struct Database {
    dir: TempDir,
    process: Option<Child>,
}

impl Database {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        if let Some((user, group)) = another_user() {
            chown(dir.path(), Some(user), Some(group)).unwrap();
        }
        let made = program("initdb", dir.path())
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=millrace",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "-D",
            ])
            .arg(dir.path().join("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut database = Self { dir, process: None };
        database.run().await;
        database
    }

    /// Starts it, or starts it again.
    pub(crate) async fn run(&mut self) {
        let mut command = program("postgres", self.dir.path());
        command.arg("-D").arg(self.dir.path().join("data")).arg("-k").arg(self.dir.path());
        command.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=40"]);
        command.args(["-c", "shared_buffers=16MB"]).stderr(Stdio::null()).stdout(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let url = self.url("postgres");
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while tokio_postgres::connect(&url, NoTls).await.is_err() {
            assert!(std::time::Instant::now() < deadline, "PostgreSQL does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All its processes at once and without tidying up, as a crash would; a server whose first process alone is killed cannot be
    /// started again before the others have noticed.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = kill_process(Pid::from_child(&process), Signal::QUIT);
            let _ = process.wait();
        }
    }

    /// Of its socket.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn url(&self, name: &str) -> String {
        let dir = self.dir.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://millrace@{dir}/{name}")
    }

    pub(crate) async fn create(&self, name: &str) {
        self.execute(&format!("CREATE DATABASE {name}")).await;
    }

    pub(crate) async fn end_connections(&self, name: &str) {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname";
        self.execute(&format!("{end} = '{name}'")).await;
    }

    /// A connection that does what it is told, and nothing else; as long as both are kept.
    pub(super) async fn connect(&self, name: &str) -> (tokio_postgres::Client, JoinSet<()>) {
        let (client, connection) = tokio_postgres::connect(&self.url(name), NoTls).await.unwrap();
        let mut kept = JoinSet::new();
        kept.spawn(async move {
            let _ = connection.await;
        });
        (client, kept)
    }

    async fn execute(&self, statement: &str) {
        self.execute_in("postgres", statement).await;
    }

    pub(super) async fn execute_in(&self, name: &str, statement: &str) {
        let (client, connection) = tokio_postgres::connect(&self.url(name), NoTls).await.unwrap();
        let execute = client.batch_execute(statement);
        tokio::select! {
            done = execute => done.unwrap(),
            ended = connection => panic!("{ended:?}"),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.kill();
    }
}

/// PostgreSQL does not run as root.
fn another_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let postgres = users.lines().find(|line| line.starts_with("postgres:"));
    let fields: Vec<_> = postgres.expect("a user postgres").split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

/// Debian keeps the programs of each version apart, off the path.
fn program(name: &str, dir: &Path) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut programs: Vec<PathBuf> = versions
        .map(|entry| entry.unwrap().path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    programs.sort();
    let mut command = Command::new(programs.pop().unwrap_or_else(|| name.into()));
    command.current_dir(dir).env("LC_ALL", "C.UTF-8");
    if let Some((user, group)) = another_user() {
        command.uid(user).gid(group);
    }
    command
}
