//! A conductor as a process of its own, to be killed at the worst moments. It is this test program, told by its environment
//! to be one: it aims at what the file `aim` says and shows what it sees in `view.json`.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use millrace_kit::clock::Clock;
use millrace_sidecar::scaling::fleet::{Conductor, Error};
use serde_json::Value;

use super::{Home, ports, processes, settings, stand_in, until};

const TOLD: &str = "MILLRACE_FLEET_DRIVER";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the driver itself, which other tests start"]
async fn drive() {
    let Ok(folder) = std::env::var(TOLD) else { return };
    let folder = Path::new(&folder);
    let toml = std::fs::read_to_string(folder.join("fleet.toml")).unwrap();
    let conductor = Conductor::new(&settings(folder, &toml)).unwrap();
    loop {
        let aim = std::fs::read_to_string(folder.join("aim")).unwrap_or_default();
        if let Ok(aim) = aim.trim().parse() {
            conductor.aim(aim);
        }
        conductor.step(Clock::System.unix_millis()).await;
        let view = serde_json::to_vec_pretty(&conductor.view()).unwrap();
        std::fs::write(folder.join("view.new"), view).unwrap();
        std::fs::rename(folder.join("view.new"), folder.join("view.json")).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

struct Driver(Child);

impl Driver {
    fn start(folder: &Path) -> Self {
        let _ = std::fs::remove_file(folder.join("view.json"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "fleet::driver::drive"]).env(TOLD, folder);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Driver {
    /// As a crash does it.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn aim(folder: &Path, count: u32) {
    std::fs::write(folder.join("aim.new"), count.to_string()).unwrap();
    std::fs::rename(folder.join("aim.new"), folder.join("aim")).unwrap();
}

/// Sorted states of the instances, when the driver has shown any.
fn states(folder: &Path) -> Option<Vec<String>> {
    let view: Value = serde_json::from_slice(&std::fs::read(folder.join("view.json")).ok()?).ok()?;
    let all = view["instances"].as_array()?.iter();
    let mut states: Vec<_> = all.map(|one| one["state"].as_str().unwrap_or_default().to_owned()).collect();
    states.sort();
    view["reachable"].as_bool()?.then_some(states)
}

async fn until_some(folder: &Path, state: &str) {
    until(state, async || states(folder)?.iter().any(|one| one == state).then_some(())).await;
}

async fn until_all_ready(folder: &Path, count: usize) {
    until(&format!("{count} ready"), async || {
        (states(folder)? == vec!["ready".to_owned(); count]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_is_killed_at_any_moment_starts_and_stops_nothing_twice() {
    let home = Home::new();
    let folder = home.path();
    std::fs::write(folder.join("fleet.toml"), stand_in::process(ports(), "good")).unwrap();
    aim(folder, 1);
    let driver = Driver::start(folder);
    until_all_ready(folder, 1).await;
    assert!(matches!(
        Conductor::new(&settings(folder, "")),
        Err(Error::Taken(group)) if group == "edge"
    ));
    aim(folder, 3);
    until_some(folder, "starting").await;
    drop(driver);
    let driver = Driver::start(folder);
    until_some(folder, "warming").await;
    drop(driver);
    // A moment at which nothing was seen to happen, too.
    drop(Driver::start(folder));
    let driver = Driver::start(folder);
    until_all_ready(folder, 3).await;
    let running = processes(folder);
    assert_eq!(running.len(), 3, "{running:?}");
    for (name, _) in &running {
        let log = std::fs::read_to_string(folder.join("scaling/instances").join(name).join("log")).unwrap();
        assert_eq!(log.matches(" began").count(), 1, "{name}: {log}");
        assert!(!folder.join("scaling/instances").join(name).join("log.1").exists());
    }

    aim(folder, 1);
    until_some(folder, "draining").await;
    drop(driver);
    assert_eq!(processes(folder).len(), 3);
    let driver = Driver::start(folder);
    until_all_ready(folder, 1).await;
    until("one process", async || (processes(folder).len() == 1).then_some(())).await;
    assert!(running.contains(&processes(folder)[0]), "the same process as before");
    aim(folder, 0);
    until_all_ready(folder, 0).await;
    assert!(processes(folder).is_empty());
    let left = || std::fs::read_dir(folder.join("scaling/instances")).unwrap().count();
    until("nothing left", async || (left() == 0).then_some(())).await;
    drop(driver);
}
