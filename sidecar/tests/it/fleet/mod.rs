//! Instances that are really started, balanced and stopped: real processes, a real HAProxy and nginx, doubles of a cluster's
//! API and of a webhook that keep their rules.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use millrace_kit::config::Faults;
use millrace_sidecar::scaling::fleet::{Config, Settings};

mod balancers;
mod conformance;
mod driver;
mod haproxy;
mod kubernetes;
mod service;
mod stand_in;
mod whole;

/// `toml` as the configuration of the group `edge`.
pub fn settings(folder: &Path, toml: &str) -> Settings {
    let config: Config = toml::from_str(toml).unwrap_or_else(|error| panic!("{error}\n{toml}"));
    let mut faults = Faults::default();
    let settings = config.resolve(("edge", 2), folder, "fleet", &mut faults);
    assert!(faults.is_empty(), "{faults}");
    settings
}

/// First ports of data and admin, below those that the system gives away. Which are taken is for the actuator to see.
pub fn ports() -> (u16, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let place = std::process::id() + 7 * u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let first = 20_000 + 600 * u16::try_from(place % 20).unwrap();
    (first, first + 300)
}

pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap()
}

/// The processes of a data directory: name and pid.
pub fn processes(folder: &Path) -> Vec<(String, i32)> {
    let folder = folder.join("scaling/instances");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(lock) = std::fs::read_link(entry.path().join("fd/0")) else { continue };
        if let Ok(path) = lock.strip_prefix(&folder) {
            found.push((path.parent().unwrap().to_str().unwrap().to_owned(), pid));
        }
    }
    found.sort();
    found
}

pub fn kill_nine(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// A directory whose processes do not outlive the test.
pub struct Home(pub tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for (_, pid) in processes(self.path()) {
            kill_nine(pid);
        }
    }
}

/// A port that was free just now, for programs that cannot choose one and say which.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Who answers how often.
pub async fn who_answers(http: &reqwest::Client, url: &str, times: usize) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for _ in 0..times {
        // A balancer that is reloaded closes connections that nobody uses just now.
        let answer = http.get(url).header("connection", "close").send().await.unwrap();
        let status = answer.status();
        let name = answer.text().await.unwrap();
        *all.entry(if status.is_success() { name } else { status.to_string() }).or_default() += 1;
    }
    all
}
