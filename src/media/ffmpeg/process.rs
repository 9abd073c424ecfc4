//! One run: a process group of its own, fed and read at the same time, killed when nobody wants its output any more.

use std::ffi::OsString;
use std::process::Stdio;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use super::{Error, Ffmpeg};
use crate::media::{ReadError, driven::driven};

/// How much of the end of stderr is kept for the log.
pub(super) const STDERR_TAIL_BYTES: usize = 4096;
/// Read from stdout at once.
const READ_BYTES: usize = 64 * 1024;

pub(super) fn stream<'a>(
    ffmpeg: Ffmpeg,
    arguments: Vec<OsString>,
    input: impl Stream<Item = Result<Bytes, ReadError>> + Send + 'a,
) -> BoxStream<'a, Result<Bytes, Error>> {
    driven(move |output| run(ffmpeg, arguments, input, output))
}

async fn run(
    ffmpeg: Ffmpeg,
    arguments: Vec<OsString>,
    input: impl Stream<Item = Result<Bytes, ReadError>> + Send,
    output: mpsc::Sender<Bytes>,
) -> Result<(), Error> {
    let Ffmpeg { program, limits, spawner, folder } = ffmpeg;
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        .current_dir(folder.as_deref().unwrap_or("/".as_ref()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let started = match spawner {
        Some(spawner) => spawner.spawn(command).await,
        None => command.spawn(),
    };
    let mut child = started.map_err(|e| Error::Missing { program, detail: e.to_string() })?;
    let group = Group::led_by(&child);
    if let Some(leader) = group.0 {
        limits.impose(leader);
    }
    tokio::time::timeout(limits.time, talk(&mut child, input, output, limits.output_bytes))
        .await
        .map_err(|_| Error::TimedOut { limit: limits.time })?
}

async fn talk(
    child: &mut Child,
    input: impl Stream<Item = Result<Bytes, ReadError>>,
    output: mpsc::Sender<Bytes>,
    max_output: usize,
) -> Result<(), Error> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Error::Pipe { detail: "no pipes".to_owned() });
    };
    let ((), (), stderr) =
        tokio::try_join!(feed(stdin, input), pass_on(stdout, output, max_output), read_tail(stderr))?;
    let status = child.wait().await.map_err(pipe_error)?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::Failed { status: status.to_string(), stderr }),
    }
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

async fn pass_on(
    mut stdout: impl AsyncRead + Unpin,
    output: mpsc::Sender<Bytes>,
    limit: usize,
) -> Result<(), Error> {
    let mut read = 0;
    loop {
        let mut piece = BytesMut::with_capacity(READ_BYTES);
        let count = stdout.read_buf(&mut piece).await.map_err(pipe_error)?;
        if count == 0 {
            return Ok(());
        }
        read += count;
        if read > limit {
            return Err(Error::TooMuchOutput { limit });
        }
        // Whoever has the receiver polls this very future: it is there.
        let _ = output.send(piece.freeze()).await;
    }
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
