//! Runs ffmpeg as a subprocess that is given bytes and gives bytes: input on stdin, output on stdout, limits on all it may
//! use, and nothing left behind. What it is asked to do, and how many may run at once, is for the callers.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};

use crate::media::ReadError;

mod confine;
mod limits;
mod process;
mod spawner;
mod version;

#[cfg(test)]
mod tests;

use spawner::Spawner;

pub use limits::Limits;
pub use version::Version;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// ffmpeg could not be started. An installation fault: no source will do better.
    #[error("cannot start {}: {detail}", program.display())]
    Missing { program: PathBuf, detail: String },
    #[error("{found} is too old: version {} or newer is needed", version::OLDEST_MAJOR)]
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

/// An ffmpeg executable and what one run of it may take.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    program: PathBuf,
    limits: Limits,
    spawner: Option<Arc<Spawner>>,
    /// Where it runs; None: nowhere in particular.
    folder: Option<PathBuf>,
}

impl Ffmpeg {
    /// `program` is a path, or a name that is looked up in `PATH`.
    pub fn new(program: impl Into<PathBuf>, time_limit: Duration) -> Self {
        Self { program: program.into(), limits: Limits::within(time_limit), spawner: None, folder: None }
    }

    /// The same program, seeing nothing of this machine but itself and its libraries: no other files, no network, no other
    /// processes.
    pub fn confined(self) -> Self {
        Self { spawner: Some(Arc::new(Spawner::new(&self.program, None))), ..self }
    }

    /// The same, but that it runs in a folder whose files it may read and write.
    pub fn confined_to(&self, folder: &Path) -> Self {
        let spawner = Arc::new(Spawner::new(&self.program, Some(folder)));
        Self { spawner: Some(spawner), folder: Some(folder.to_owned()), ..self.clone() }
    }

    /// The program of another name that stands beside it, as `ffprobe` does.
    pub fn beside(&self, name: &str) -> Self {
        let program = match self.program.parent() {
            Some(folder) if self.program.components().count() > 1 => folder.join(name),
            _ => name.into(),
        };
        Self { program, ..self.clone() }
    }

    /// The same program under other limits.
    pub fn with(&self, limits: Limits) -> Self {
        Self { limits, ..self.clone() }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts it once, to see that it is there and new enough.
    pub async fn version(&self) -> Result<Version, Error> {
        let probe =
            self.with(Limits { output_bytes: version::OUTPUT_BYTES, ..Limits::within(version::TIME) });
        let stdout = probe.collect(["-version"], futures_util::stream::empty()).await?;
        let stdout = String::from_utf8_lossy(&stdout);
        let version = version::parse(stdout.lines().next().unwrap_or_default()).ok_or_else(|| {
            Error::Missing { program: self.program.clone(), detail: "not ffmpeg".to_owned() }
        })?;
        match version.is_too_old() {
            true => Err(Error::TooOld { found: version.text }),
            false => Ok(version),
        }
    }

    /// Feeds `input` to stdin and returns stdout, of at most `max_output` bytes.
    ///
    /// The process runs in a group of its own, which is killed when this future ends in any way: no process outlives it.
    /// It inherits no environment but `PATH`. ffmpeg may stop reading before the end of `input`; that is no error.
    pub async fn run<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: impl Stream<Item = Result<Bytes, ReadError>> + Send,
        max_output: usize,
    ) -> Result<Bytes, Error> {
        self.with(Limits { output_bytes: max_output, ..self.limits }).collect(arguments, input).await
    }

    /// The same with stdout handed on as it comes. Dropping the stream ends the process.
    pub fn stream<'a>(
        &self,
        arguments: Vec<OsString>,
        input: impl Stream<Item = Result<Bytes, ReadError>> + Send + 'a,
    ) -> BoxStream<'a, Result<Bytes, Error>> {
        process::stream(self.clone(), arguments, input)
    }

    async fn collect<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: impl Stream<Item = Result<Bytes, ReadError>> + Send,
    ) -> Result<Bytes, Error> {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let mut output = self.stream(arguments, input);
        let mut all = BytesMut::new();
        while let Some(bytes) = output.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all.freeze())
    }
}
