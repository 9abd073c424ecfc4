//! Programs that stand in for ffmpeg, and the real one asked for its version.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::process::STDERR_TAIL_BYTES;
use super::version::parse;
use super::{Error, Ffmpeg, Limits};
use crate::media::ReadError;

/// An executable script in a folder of its own. Another process writes it: were it open for writing here while a
/// neighbouring test forks, starting it would fail with "text file busy".
fn script(body: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ffmpeg");
    let written = std::process::Command::new("sh")
        .args(["-c", "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .arg(body)
        .status();
    assert!(written.unwrap().success());
    (folder, path)
}

async fn run(program: &Path, limit: Duration, input: &'static [u8]) -> Result<Bytes, Error> {
    let input = stream::iter([Ok(Bytes::from_static(input))]);
    Ffmpeg::new(program, limit).run(["-x"], input, 1024).await
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_missing_program_is_told_apart() {
    let ffmpeg = Ffmpeg::new("/nowhere/ffmpeg", LONG);
    assert!(matches!(ffmpeg.version().await, Err(Error::Missing { .. })));
    let (_folder, path) = script("echo something else");
    assert!(matches!(Ffmpeg::new(path, LONG).version().await, Err(Error::Missing { .. })));
    let (_folder, path) = script("echo ffmpeg version 3.4.2 Copyright");
    assert!(matches!(Ffmpeg::new(path, LONG).version().await, Err(Error::TooOld { .. })));
}

#[tokio::test]
async fn the_real_one_says_its_version() {
    let version = Ffmpeg::new("ffmpeg", LONG).version().await.unwrap();
    assert!(version.text.starts_with("ffmpeg "), "{version:?}");
}

#[test]
fn versions() {
    let cases = [
        ("ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000", Some(Some(5))),
        ("ffmpeg version n7.1 Copyright", Some(Some(7))),
        ("ffmpeg version 8.0 Copyright", Some(Some(8))),
        ("ffmpeg version N-118000-gabc Copyright", Some(None)),
        ("ffmpeg version 2024-01-01-git-abc", Some(Some(2024))),
        ("avconv version 9", None),
        ("", None),
    ];
    for (line, major) in cases {
        assert_eq!(parse(line).map(|version| version.major), major, "{line}");
    }
}

#[tokio::test]
async fn input_goes_in_and_output_comes_out() {
    let (_folder, path) = script("cat");
    assert_eq!(run(&path, LONG, b"bytes").await.unwrap(), "bytes");
}

#[tokio::test]
async fn failure_carries_the_end_of_stderr() {
    let (_folder, path) = script("head -c 100000 /dev/zero | tr '\\0' x >&2; echo last words >&2; exit 3");
    let Err(Error::Failed { status, stderr }) = run(&path, LONG, b"").await else { panic!("no failure") };
    assert!(status.contains('3'), "{status}");
    assert!(stderr.ends_with("last words") && stderr.len() <= STDERR_TAIL_BYTES);
}

#[tokio::test]
async fn output_is_bounded() {
    let (_folder, path) = script("cat /dev/zero");
    assert!(matches!(run(&path, LONG, b"").await, Err(Error::TooMuchOutput { limit: 1024 })));
}

#[tokio::test]
async fn a_program_that_stops_reading_is_no_error() {
    let (_folder, path) = script("exec 0<&-; echo done");
    let input = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 65536])));
    let out = Ffmpeg::new(path, LONG).run(["-x"], input, 1024).await.unwrap();
    assert_eq!(out, "done\n");
}

#[tokio::test]
async fn a_source_that_fails_ends_the_run() {
    let (_folder, path) = script("sleep 60");
    let input = stream::iter([Err(ReadError { detail: "gone".to_owned() })]);
    let result = Ffmpeg::new(path, LONG).run(["-x"], input, 1024).await;
    assert!(matches!(result, Err(Error::Input(_))));
}

/// Whether a process exists and is not a zombie waiting for its parent.
fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

async fn gone(pid: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while alive(pid) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    !alive(pid)
}

/// Says its own process and that of a child, and then nothing.
const HANGING: &str = "sleep 60 & echo $! $$; wait";

#[tokio::test]
async fn a_hanging_program_and_its_children_are_killed_in_time() {
    let (_folder, path) = script(HANGING);
    let begun = Instant::now();
    let ffmpeg = Ffmpeg::new(path, Duration::from_secs(2));
    let mut output = ffmpeg.stream(Vec::new(), stream::empty());
    let mut pids = String::new();
    let ended = loop {
        match output.next().await.unwrap() {
            Ok(bytes) => pids.push_str(str::from_utf8(&bytes).unwrap()),
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, Error::TimedOut { .. }), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    assert_eq!(pids.split_whitespace().count(), 2, "it did not get to say who it is");
    for pid in pids.split_whitespace() {
        assert!(gone(pid).await, "{pid} still runs");
    }
}

#[tokio::test]
async fn nothing_outlives_a_caller_that_leaves() {
    let (_folder, path) = script(HANGING);
    let mut output = Ffmpeg::new(path, LONG).stream(Vec::new(), stream::empty());
    let pids = output.next().await.unwrap().unwrap();
    drop(output);
    for pid in str::from_utf8(&pids).unwrap().split_whitespace() {
        assert!(gone(pid).await, "{pid} still runs");
    }
}

#[tokio::test]
async fn the_environment_is_not_inherited() {
    let (_folder, path) = script("env | cut -d= -f1 | sort | tr '\\n' ' '; pwd");
    let out = run(&path, LONG, b"").await.unwrap();
    // What the shell sets by itself aside.
    let names = String::from_utf8_lossy(&out).into_owned();
    assert!(names.trim_end().ends_with('/'), "{names}");
    let unexpected: Vec<_> = names
        .split_whitespace()
        .filter(|name| !["LC_ALL", "PATH", "PWD", "OLDPWD", "SHLVL", "_", "/"].contains(name))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

fn confined() -> Ffmpeg {
    Ffmpeg::new("/bin/sh", LONG).confined()
}

async fn shell(ffmpeg: &Ffmpeg, script: &str) -> Result<Bytes, Error> {
    ffmpeg.run(["-c", script], stream::empty(), 4096).await
}

#[tokio::test]
async fn a_confined_program_finds_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let ffmpeg = confined();
    assert_eq!(shell(&ffmpeg, "cat; echo works").await.unwrap(), "works\n");
    for script in [
        format!("cat {}", secret.display()),
        format!(": > {}", folder.path().join("new").display()),
        format!("ls {}", folder.path().display()),
        "cat /etc/passwd".to_owned(),
        format!("head -c 9 /proc/{}/environ", std::process::id()),
        format!("kill -CONT {}", std::process::id()),
    ] {
        let result = shell(&ffmpeg, &script).await;
        assert!(matches!(result, Err(Error::Failed { .. })), "{script}: {result:?}");
        // It is the confinement that makes it fail.
        let free = shell(&Ffmpeg::new("/bin/sh", LONG), &script).await;
        assert!(free.is_ok(), "{script}: {free:?}");
        let _ = std::fs::remove_file(folder.path().join("new"));
    }
}

#[tokio::test]
async fn a_program_with_a_folder_has_that_one_alone() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = other.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let limits = Limits { file_bytes: 2048, niceness: 7, ..Limits::within(LONG) };
    let ffmpeg = Ffmpeg::new("/bin/sh", LONG).confined_to(folder.path()).with(limits);
    // Read first: by then the limits are in force.
    let script = "read line; echo a > file; cat file; nice; rm file";
    let input = stream::iter([Ok(Bytes::from_static(b"go\n"))]);
    assert_eq!(ffmpeg.run(["-c", script], input, 4096).await.unwrap(), "a\n7\n");
    for script in [
        format!("cat {}", secret.display()),
        format!(": > {}", other.path().join("new").display()),
        "ln -s /etc/passwd link".to_owned(),
        "mkfifo pipe".to_owned(),
        "cat; head -c 4096 /dev/zero > big".to_owned(),
    ] {
        let result = shell(&ffmpeg, &script).await;
        assert!(matches!(result, Err(Error::Failed { .. })), "{script}: {result:?}");
    }
}

#[tokio::test]
async fn a_confined_program_reaches_nobody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let ffmpeg = Ffmpeg::new("ffmpeg", LONG).confined();
    let result = ffmpeg.run(["-v", "error", "-i", &url, "-f", "null", "-"], stream::empty(), 4096).await;
    assert!(matches!(result, Err(Error::Failed { .. })), "{result:?}");
    assert!(listener.accept().is_err(), "it has called");
}

#[tokio::test]
async fn limits_are_imposed() {
    let limits =
        Limits { processor: Duration::from_secs(7), memory_bytes: Some(1 << 30), ..Limits::within(LONG) };
    // Read first: by then they are in force.
    let script = "read line; ulimit -t; ulimit -v; ulimit -f; ulimit -c; ulimit -n";
    let input = stream::iter([Ok(Bytes::from_static(b"go\n"))]);
    let out = confined().with(limits).run(["-c", script], input, 4096).await.unwrap();
    assert_eq!(out, format!("7\n{}\n0\n0\n64\n", 1 << 20));
}
