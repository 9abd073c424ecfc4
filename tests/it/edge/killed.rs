//! The program itself, killed without warning: what it has acknowledged holds.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use super::{Reply, client, eventually};
use crate::origin_double::{Answer, OriginDouble};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_millrace");

/// Killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Program {
    pub(crate) fn start(origin: &OriginDouble, dir: &Path) -> Self {
        Self::start_by(Command::new(BINARY), origin, dir)
    }

    /// By a command that starts the program with the arguments that come after it.
    pub(crate) fn start_by(mut command: Command, origin: &OriginDouble, dir: &Path) -> Self {
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--memory", "64MiB"])
            .args(["--disk", "64MiB", "--workers", "1", "--origin", &origin.url(), "--data-dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = || {
            let line = said.next().unwrap().unwrap();
            line.rsplit('/').next().unwrap().parse().unwrap()
        };
        let (data, admin) = (address(), address());
        Self { child, data, admin }
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        client::open(self.data, "GET", target, &[], b"").await.whole().await
    }

    /// Whether everything that has been stored is on the disk.
    async fn written(&self, entries: u64) -> bool {
        let reply = client::open(self.admin, "GET", "/api/v1/cache/stats", &[("host", "localhost")], b"")
            .await
            .whole()
            .await;
        let stats: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        stats["disk_written_bytes"].as_u64().unwrap() >= entries * 4096
    }

    /// From the command line.
    fn purge(&self, arguments: &[&str]) -> Output {
        let admin = self.admin.to_string();
        Command::new(BINARY).arg("purge").args(arguments).args(["--admin", &admin]).output().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGKILL: nothing is put in order.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn a_purge_survives_being_killed_right_after_its_receipt() {
    let origin = OriginDouble::start().await;
    let dir = tempfile::tempdir().unwrap();
    let paths = ["/url", "/tag", "/prefix/x", "/kept"];
    for path in paths {
        let answer = Answer::ok(path).etag("\"1\"").cache_control("max-age=3600");
        origin.on(path, answer.header("cache-tag", &path[1..4]));
    }
    let mut rounds = Vec::new();
    for arguments in [&["/url"][..], &["--tag", "tag"], &["--prefix", "/prefix"], &["--all"]] {
        let program = Program::start(&origin, dir.path());
        let mut misses = 0;
        for path in paths {
            misses += u64::from(program.get(path).await.cache() == "MISS");
        }
        eventually("a write", async || program.written(misses).await).await;
        let purged = program.purge(arguments);
        drop(program);
        let said = String::from_utf8(purged.stdout).unwrap();
        assert!(purged.status.success() && said.starts_with("purged: sequence "), "{said}");
        let program = Program::start(&origin, dir.path());
        let mut left = Vec::new();
        for path in paths {
            if program.get(path).await.cache() == "HIT" {
                left.push(path);
            }
        }
        rounds.push(left);
    }
    assert_eq!(rounds[0], ["/tag", "/prefix/x", "/kept"]);
    assert!(!rounds[1].contains(&"/tag") && rounds[1].contains(&"/kept"), "{rounds:?}");
    assert!(!rounds[2].contains(&"/prefix/x") && rounds[2].contains(&"/kept"), "{rounds:?}");
    assert!(rounds[3].is_empty(), "{rounds:?}");
}

#[tokio::test]
async fn the_command_says_why_it_could_not_purge() {
    let origin = OriginDouble::start().await;
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(&origin, dir.path());
    for (arguments, status, reason) in [
        (&["no-slash"][..], 1, "the path does not begin with a slash"),
        (&["--tag", "a,b"], 1, "a tag has"),
        (&["--soft"], 2, "required"),
    ] {
        let refused = program.purge(arguments);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(status), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    let nobody = Command::new(BINARY).args(["purge", "--all", "--admin", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
}
