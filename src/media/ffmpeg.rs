//! Runs ffmpeg as a subprocess that is given bytes and gives bytes: input on stdin, output on stdout, a time limit, and
//! nothing left behind. What it is asked to do, and how many may run at once, is for the callers.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

use crate::media::ReadError;

/// How much of the end of stderr is kept for the log.
const STDERR_TAIL_BYTES: usize = 4096;
/// `ffmpeg -version` answers in a tenth of a second, or never.
const PROBE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// What `-version` prints is about 1.5 KiB.
const PROBE_OUTPUT_BYTES: usize = 64 * 1024;
/// The arguments used here mean the same from this version on.
const OLDEST_MAJOR: u32 = 4;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// ffmpeg could not be started. An installation fault: no source will do better.
    #[error("cannot start {}: {detail}", program.display())]
    Missing { program: PathBuf, detail: String },
    #[error("{found} is too old: version {OLDEST_MAJOR} or newer is needed")]
    TooOld { found: String },
    /// ffmpeg gave up; the end of its stderr is for logs.
    #[error("ffmpeg failed ({status}): {stderr}")]
    Failed { status: String, stderr: String },
    #[error("ffmpeg did not finish within {limit:?}")]
    TimedOut { limit: Duration },
    #[error("ffmpeg wrote more than {limit} bytes")]
    TooMuchOutput { limit: usize },
    /// What ffmpeg was to be given could not be read.
    #[error(transparent)]
    Input(#[from] ReadError),
    #[error("talking to ffmpeg failed: {detail}")]
    Pipe { detail: String },
}

/// First line of `ffmpeg -version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub text: String,
    /// `None` for builds from the development branch.
    pub major: Option<u32>,
}

/// An ffmpeg executable and the time it may take.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    program: PathBuf,
    time_limit: Duration,
}

impl Ffmpeg {
    /// `program` is a path, or a name that is looked up in `PATH`.
    pub fn new(program: impl Into<PathBuf>, time_limit: Duration) -> Self {
        Self { program: program.into(), time_limit }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts it once, to see that it is there and new enough.
    pub async fn version(&self) -> Result<Version, Error> {
        let probe = Self { program: self.program.clone(), time_limit: PROBE_TIME_LIMIT };
        let stdout = probe.run(["-version"], futures_util::stream::empty(), PROBE_OUTPUT_BYTES).await?;
        let stdout = String::from_utf8_lossy(&stdout);
        let version = parse_version(stdout.lines().next().unwrap_or_default()).ok_or_else(|| {
            Error::Missing { program: self.program.clone(), detail: "not ffmpeg".to_owned() }
        })?;
        if version.major.is_some_and(|major| major < OLDEST_MAJOR) {
            return Err(Error::TooOld { found: version.text });
        }
        Ok(version)
    }

    /// Feeds `input` to stdin and returns stdout, of at most `max_output` bytes.
    ///
    /// The process runs in a group of its own, which is killed when this future ends in any way: no process outlives it.
    /// It inherits no environment but `PATH`. ffmpeg may stop reading before the end of `input`; that is no error.
    pub async fn run<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: impl Stream<Item = Result<Bytes, ReadError>>,
        max_output: usize,
    ) -> Result<Bytes, Error> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|e| Error::Missing { program: self.program.clone(), detail: e.to_string() })?;
        let _group = Group::led_by(&child);
        let talk = talk(&mut child, input, max_output);
        let (stdout, stderr, status) = tokio::time::timeout(self.time_limit, talk)
            .await
            .map_err(|_| Error::TimedOut { limit: self.time_limit })??;
        if !status.success() {
            return Err(Error::Failed { status: status.to_string(), stderr });
        }
        Ok(stdout)
    }
}

async fn talk(
    child: &mut Child,
    input: impl Stream<Item = Result<Bytes, ReadError>>,
    max_output: usize,
) -> Result<(Bytes, String, ExitStatus), Error> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Error::Pipe { detail: "no pipes".to_owned() });
    };
    let ((), stdout, stderr) =
        tokio::try_join!(feed(stdin, input), read_all(stdout, max_output), read_tail(stderr))?;
    let status = child.wait().await.map_err(pipe_error)?;
    Ok((stdout, stderr, status))
}

async fn feed(
    mut stdin: ChildStdin,
    input: impl Stream<Item = Result<Bytes, ReadError>>,
) -> Result<(), Error> {
    let mut input = std::pin::pin!(input);
    while let Some(bytes) = input.next().await {
        match stdin.write_all(&bytes?).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(pipe_error(error)),
        }
    }
    Ok(())
}

async fn read_all(mut stdout: impl AsyncRead + Unpin, limit: usize) -> Result<Bytes, Error> {
    let mut out = BytesMut::new();
    while stdout.read_buf(&mut out).await.map_err(pipe_error)? > 0 {
        if out.len() > limit {
            return Err(Error::TooMuchOutput { limit });
        }
    }
    Ok(out.freeze())
}

async fn read_tail(mut stderr: impl AsyncRead + Unpin) -> Result<String, Error> {
    let mut tail = Vec::with_capacity(2 * STDERR_TAIL_BYTES);
    let mut chunk = [0; 1024];
    loop {
        let count = stderr.read(&mut chunk).await.map_err(pipe_error)?;
        if count == 0 {
            break;
        }
        tail.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if tail.len() > STDERR_TAIL_BYTES {
            tail.drain(..tail.len() - STDERR_TAIL_BYTES);
        }
    }
    Ok(String::from_utf8_lossy(&tail).trim().to_owned())
}

fn pipe_error(error: std::io::Error) -> Error {
    Error::Pipe { detail: error.to_string() }
}

fn parse_version(line: &str) -> Option<Version> {
    let number = line.strip_prefix("ffmpeg version ")?.split_whitespace().next()?;
    let digits = number.trim_start_matches('n');
    let major = digits.split(['.', '-']).next().and_then(|major| major.parse().ok());
    Some(Version { text: format!("ffmpeg {number}"), major })
}

/// Kills what is left of a process group when dropped, whether the leader has finished, failed or been given up.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn led_by(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Fails when nobody is left, which is the ordinary case.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures_util::stream;

    use super::*;

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
            assert_eq!(parse_version(line).map(|version| version.major), major, "{line}");
        }
    }

    #[tokio::test]
    async fn input_goes_in_and_output_comes_out() {
        let (_folder, path) = script("cat");
        assert_eq!(run(&path, LONG, b"bytes").await.unwrap(), "bytes");
    }

    #[tokio::test]
    async fn failure_carries_the_end_of_stderr() {
        let (_folder, path) =
            script("head -c 100000 /dev/zero | tr '\\0' x >&2; echo last words >&2; exit 3");
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

    #[tokio::test]
    async fn a_hanging_program_and_its_children_are_killed_in_time() {
        let (folder, path) = script("sleep 60 & echo $! $$ > \"$(dirname \"$0\")/pids\"; wait");
        let begun = Instant::now();
        let result = run(&path, Duration::from_millis(500), b"").await;
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
        let pids = std::fs::read_to_string(folder.path().join("pids")).unwrap();
        for pid in pids.split_whitespace() {
            assert!(gone(pid).await, "{pid} still runs");
        }
    }

    #[tokio::test]
    async fn nothing_outlives_a_caller_that_leaves() {
        let (folder, path) = script(
            "sleep 60 & echo $! $$ > \"$(dirname \"$0\")/pids.new\"; mv \"$(dirname \"$0\")/pids.new\" \"$(dirname \"$0\")/pids\"; wait",
        );
        let pids = folder.path().join("pids");
        {
            let mut running = std::pin::pin!(run(&path, LONG, b""));
            let deadline = Instant::now() + Duration::from_secs(10);
            while !pids.exists() && Instant::now() < deadline {
                let pause = tokio::time::sleep(Duration::from_millis(5));
                tokio::select! {
                    result = &mut running => panic!("ended by itself: {result:?}"),
                    () = pause => {}
                }
            }
        }
        let pids = std::fs::read_to_string(pids).unwrap();
        for pid in pids.split_whitespace() {
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
}
