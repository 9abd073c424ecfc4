//! A real S3 server on a free port: s3s-fs, which checks signatures and keeps objects as plain files. `scripts/deps.sh test`
//! installs it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use millrace::origin::{
    http as http_origin,
    s3::{AccessKey, Config, Identity},
};
use tempfile::TempDir;
use url::Url;

/// Stops when dropped.
pub(crate) struct S3Server {
    process: Child,
    port: u16,
    _log: TempDir,
}

pub(crate) const KEY: (&str, &str) = ("AKTEST", "a secret/of+tests");

impl S3Server {
    /// Each folder of `root` is a bucket.
    pub(crate) async fn start(root: &Path) -> Self {
        let log = tempfile::tempdir().unwrap();
        let path = log.path().join("log");
        let process = Command::new(program())
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(["--access-key", KEY.0, "--secret-key", KEY.1])
            .arg(root)
            .env("RUST_LOG", "s3s_fs=info")
            .env("NO_COLOR", "1")
            .stdout(File::create(&path).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|error| panic!("s3s-fs: {error}; run scripts/deps.sh test"));
        let mut server = Self { process, port: 0, _log: log };
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.port == 0 {
            assert!(Instant::now() < deadline, "s3s-fs does not say where it listens");
            tokio::time::sleep(Duration::from_millis(5)).await;
            server.port = port_in(&std::fs::read_to_string(&path).unwrap()).unwrap_or(0);
        }
        server
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn bucket(&self, name: &str) -> Config {
        let endpoint = Url::parse(&self.endpoint()).unwrap();
        let http = http_origin::Config::new("s3", endpoint.clone());
        let key = AccessKey {
            access_key_id: KEY.0.to_owned(),
            secret_access_key: KEY.1.to_owned(),
            session_token: None,
        };
        Config { endpoint: Some(endpoint), identity: Identity::Key(key), ..Config::new("s3", name, http) }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn port_in(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("http://127.0.0.1:")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// On the path, or where `deps.sh` puts it: beside the profile's folder that this test was built into.
fn program() -> PathBuf {
    let beside = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("tools/bin/s3s-fs");
    if beside.exists() { beside } else { PathBuf::from("s3s-fs") }
}
