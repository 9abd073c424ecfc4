//! A disk on which writing really fails: the program on a small filesystem of its own that is full.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::fs::{FallocateFlags, fallocate};

use super::{
    client, eventually,
    killed::{BINARY, Program},
};
use crate::origin_double::{Answer, OriginDouble};

const SEED: u64 = 12;
const LENGTH: u64 = 300_000;

/// A program in a mount namespace of its own, with a filesystem of 80 MiB at `dir`. None where that is not allowed.
fn on_small_filesystem(origin: &OriginDouble, dir: &Path) -> Option<Program> {
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", "mount -t tmpfs -o size=80m tmpfs \"$0\" && exec \"$@\""]).arg(dir);
    let mut possible = Command::new("unshare");
    possible.args(["-Urm", "mount", "-t", "tmpfs", "tmpfs"]).arg(dir).stderr(Stdio::null());
    if !possible.status().is_ok_and(|status| status.success()) {
        return None;
    }
    command.arg(BINARY);
    Some(Program::start_by(command, origin, dir))
}

async fn state(program: &Program) -> String {
    let reply = client::open(program.admin, "GET", "/api/v1/cache/stats", &[("host", "localhost")], b"")
        .await
        .whole()
        .await;
    let stats: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    stats["disk_state"].as_str().unwrap().to_owned()
}

async fn get(program: &Program, range: std::ops::Range<u64>) {
    for n in range {
        let reply = program.get(&format!("/{n}")).await;
        assert!(reply.status == 200 && reply.is_pattern(SEED, 0..LENGTH), "/{n}: {}", reply.status);
    }
}

/// Takes the space of the cache's files away and gives it to another file.
fn fill(dir: &Path) -> PathBuf {
    for file in fs::read_dir(dir.join("cache/blocks")).unwrap() {
        let file = OpenOptions::new().write(true).open(file.unwrap().path()).unwrap();
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, hole, 0, file.metadata().unwrap().len()).unwrap();
    }
    let filler = dir.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    filler
}

#[tokio::test]
async fn a_full_disk_is_left_until_there_is_room_again() {
    let origin = OriginDouble::start().await;
    let dir = tempfile::tempdir().unwrap();
    for n in 0..200 {
        origin
            .on(&format!("/{n}"), Answer::pattern(LENGTH, SEED).etag("\"1\"").cache_control("max-age=3600"));
    }
    let Some(program) = on_small_filesystem(&origin, dir.path()) else {
        return assert!(std::env::var_os("CI").is_none(), "mounting is not allowed here");
    };
    let inside = Path::new("/proc").join(program.child.id().to_string()).join("root");
    let inside = inside.join(dir.path().strip_prefix("/").unwrap());
    get(&program, 0..30).await;
    assert_eq!(state(&program).await, "on");
    let filler = fill(&inside);
    get(&program, 30..100).await;
    eventually("a disk that is off", async || {
        get(&program, 100..104).await;
        state(&program).await == "off"
    })
    .await;
    get(&program, 0..200).await;
    assert_eq!(state(&program).await, "off");
    fs::remove_file(filler).unwrap();
    eventually("a disk that is on again", async || state(&program).await == "on").await;
    get(&program, 0..200).await;
    assert_eq!(state(&program).await, "on");
    let reply =
        client::open(program.admin, "GET", "/metrics", &[("host", "localhost")], b"").await.whole().await;
    let reads = "millrace_cache_tier_requests_total{result=\"hit\",tier=\"disk\"} ";
    assert!(reply.text().contains(reads));
}
