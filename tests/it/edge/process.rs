//! A server of its own process, for what only a process has: signals, arguments and files.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::client::{self, Reply};
use crate::origin_double::OriginDouble;

pub(super) struct Process {
    pub(super) child: Child,
    pub(super) data: SocketAddr,
    admin: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Process {
    pub(super) fn over(origin: &OriginDouble) -> Self {
        Self::with(&["--origin".as_ref(), origin.url().as_ref()])
    }

    pub(super) fn with(arguments: &[&OsStr]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--disk", "0"])
            .args(["--memory", "64MiB", "--workers", "1"])
            .args(arguments)
            .arg("--data-dir")
            .arg(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |before: &str| {
            let line = said.next().unwrap().unwrap();
            line.strip_prefix(before).unwrap().parse().unwrap()
        };
        let (data, admin) = (address("listening on http://"), address("admin on http://"));
        Self { child, data, admin, _dir: dir }
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(super) async fn get(&self, target: &str) -> Reply {
        client::open(self.data, "GET", target, &[], b"").await.whole().await
    }

    pub(super) async fn admin(&self, target: &str) -> Reply {
        client::open(self.admin, "GET", target, &[("host", "localhost")], b"").await.whole().await
    }

    /// To its end, which has to come.
    pub(super) fn complaints(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
