//! What one run of ffmpeg may take: time, processor, memory, output. A hostile source makes it fail, and nothing else.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit, setpriority_process};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From start to end, waiting for input and readers included.
    pub time: Duration,
    /// Of all its threads together.
    pub processor: Duration,
    /// Address space, of which a good part is only reserved. None: drivers of hardware reserve more than there is.
    pub memory_bytes: Option<u64>,
    /// On stdout.
    pub output_bytes: usize,
    /// Of each file it writes, where it may write any.
    pub file_bytes: u64,
    /// How far it stands back behind everybody else, up to 19.
    pub niceness: i32,
}

/// ffmpeg with all its libraries and an encoder for 4K pictures needs a quarter of it.
const MEMORY_BYTES: u64 = 4 << 30;
/// Libraries, three pipes, and a device for encoders in hardware.
const OPEN_FILES: u64 = 64;

impl Limits {
    /// Two cores' worth of the time.
    pub fn within(time: Duration) -> Self {
        Self {
            time,
            processor: time * 2,
            memory_bytes: Some(MEMORY_BYTES),
            output_bytes: usize::MAX,
            file_bytes: 0,
            niceness: 0,
        }
    }

    /// Imposes them on a process that has just been started. It has been given nothing to work on yet, so it does not matter
    /// that it runs a moment without.
    pub(super) fn impose(&self, process: Pid) {
        let seconds = self.processor.as_secs().max(1);
        for (resource, limit) in [
            (Resource::Cpu, Some(seconds)),
            (Resource::As, self.memory_bytes),
            (Resource::Fsize, Some(self.file_bytes)),
            (Resource::Core, Some(0)),
            (Resource::Nofile, Some(OPEN_FILES)),
        ] {
            let limit = Rlimit { current: limit, maximum: limit };
            // Gone already: whoever reads its output will notice.
            let _ = prlimit(Some(process), resource, limit);
        }
        if self.niceness > 0 {
            let _ = setpriority_process(Some(process), self.niceness);
        }
    }
}
