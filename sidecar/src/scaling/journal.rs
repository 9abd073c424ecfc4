//! The journal of one group: a JSON line per decision with all that it was made of, and one for each change by hand. It is
//! bounded, and it is the memory: what a restarted sidecar knows of cooldowns and wants is read out of it.
//!
//! Lines reach the kernel at once, and the disk before anything is done about a change. A line that a crash has cut is
//! left out.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use millrace_kit::clock::UnixMillis;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    decide::decide,
    decision::{Decision, Inputs, Override, State},
    policy::Policy,
    stamp,
};

/// Files of a group: the one that is written, and older ones.
const FILES: u64 = 4;
/// Changes by hand that are remembered. Older ones are in the files.
pub const KEPT_BY_HAND: usize = 200;
/// A longer line is none of ours.
const MAX_LINE_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// From here on decisions follow from this state and this policy. Stands at the head of each file.
    Start {
        #[serde(with = "stamp")]
        at: UnixMillis,
        policy: Box<Policy>,
        state: Box<State>,
    },
    Tick {
        inputs: Box<Inputs>,
        decision: Box<Decision>,
    },
    /// By hand. None: what was in force is over.
    Override {
        #[serde(with = "stamp")]
        at: UnixMillis,
        by: String,
        #[serde(rename = "override")]
        manual: Option<Override>,
    },
    Drain {
        #[serde(with = "stamp")]
        at: UnixMillis,
        by: String,
        instance: String,
    },
}

impl Entry {
    pub fn at(&self) -> UnixMillis {
        match self {
            Self::Start { at, .. } | Self::Override { at, .. } | Self::Drain { at, .. } => *at,
            Self::Tick { decision, .. } => decision.at,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Bounds {
    pub folder: PathBuf,
    /// Of all files of a group together.
    pub bytes: u64,
}

pub struct Journal {
    path: PathBuf,
    file_bytes: u64,
    open: Mutex<Option<Open>>,
}

struct Open {
    file: File,
    bytes: u64,
}

impl Open {
    fn write(&mut self, line: &[u8], reach: Reach) -> io::Result<()> {
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        match reach {
            Reach::Kernel => Ok(()),
            Reach::Disk => self.file.sync_data(),
        }
    }
}

/// What a journal remembers.
#[derive(Debug, Default)]
pub struct Remembered {
    pub state: Option<State>,
    pub policy: Option<Policy>,
    pub manual: Option<Override>,
    /// The newest, oldest first.
    pub decisions: Vec<Decision>,
    /// Changes by hand, too.
    pub by_hand: Vec<Entry>,
}

impl Journal {
    pub fn new(bounds: &Bounds, group: &str) -> Self {
        let path = bounds.folder.join(format!("{group}.jsonl"));
        Self { path, file_bytes: (bounds.bytes / FILES).max(1), open: Mutex::new(None) }
    }

    /// Oldest first. Missing files and damaged lines are left out.
    pub fn read(&self, mut each: impl FnMut(Entry)) {
        for age in (0..FILES).rev() {
            let Ok(file) = File::open(self.file(age)) else { continue };
            let mut lines = BufReader::new(file);
            let mut line = Vec::new();
            loop {
                line.clear();
                match (&mut lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
                if let Ok(entry) = serde_json::from_slice(&line) {
                    each(entry);
                }
            }
        }
    }

    /// Calls [`decide`] again for what was decided since the last start. `keep`: decisions to bring along.
    pub fn remembered(&self, keep: usize) -> Remembered {
        let mut found = Remembered::default();
        self.read(|entry| match entry {
            Entry::Start { policy, state, .. } => {
                (found.policy, found.state) = (Some(*policy), Some(*state));
            }
            Entry::Tick { inputs, decision } => {
                if let (Some(policy), Some(state)) = (&found.policy, &found.state) {
                    found.state = Some(decide(state, &inputs, policy, decision.at).1);
                }
                if found.decisions.len() >= 2 * keep.max(1) {
                    found.decisions.drain(..keep);
                }
                found.manual = inputs.manual;
                found.decisions.push(*decision);
            }
            Entry::Override { .. } | Entry::Drain { .. } => {
                if let Entry::Override { manual, .. } = &entry {
                    found.manual.clone_from(manual);
                }
                if found.by_hand.len() >= 2 * KEPT_BY_HAND {
                    found.by_hand.drain(..KEPT_BY_HAND);
                }
                found.by_hand.push(entry);
            }
        });
        let surplus = found.decisions.len().saturating_sub(keep);
        found.decisions.drain(..surplus);
        let surplus = found.by_hand.len().saturating_sub(KEPT_BY_HAND);
        found.by_hand.drain(..surplus);
        found
    }

    /// Begins anew, in a file with room.
    pub fn start(&self, at: UnixMillis, policy: &Policy, state: &State) -> io::Result<()> {
        let entry = Entry::Start { at, policy: Box::new(policy.clone()), state: Box::new(state.clone()) };
        self.append(&entry, Reach::Disk)
    }

    /// A new file begins with a start, so that it can be understood alone, and so does what follows a failure: `policy` and
    /// `state` are those that `decision` was made with.
    pub fn tick(
        &self,
        inputs: &Inputs,
        decision: &Decision,
        policy: &Policy,
        state: &State,
    ) -> io::Result<()> {
        // Closed: something could not be written, and may be missing.
        let closed = self.open.lock().is_none();
        let bytes = self.bytes()?;
        if bytes >= self.file_bytes {
            self.rotate()?;
        }
        if closed || bytes == 0 || bytes >= self.file_bytes {
            self.start(decision.at, policy, state)?;
        }
        let entry = Entry::Tick { inputs: Box::new(inputs.clone()), decision: Box::new(decision.clone()) };
        let reach = if decision.from == decision.to { Reach::Kernel } else { Reach::Disk };
        self.append(&entry, reach)
    }

    pub fn by_hand(&self, entry: &Entry) -> io::Result<()> {
        self.append(entry, Reach::Disk)
    }

    fn append(&self, entry: &Entry, reach: Reach) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut open = self.open.lock();
        let written = self.opened(&mut open)?.write(&line, reach);
        if written.is_err() {
            // Half a line may stand there: opening anew ends it.
            *open = None;
        }
        written
    }

    fn opened<'a>(&self, open: &'a mut Option<Open>) -> io::Result<&'a mut Open> {
        if open.is_none() {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            let mut bytes = file.metadata()?.len();
            if !ends_a_line(&self.path, bytes)? {
                file.write_all(b"\n")?;
                bytes += 1;
            }
            *open = Some(Open { file, bytes });
        }
        open.as_mut().ok_or_else(|| io::Error::other("the journal is closed"))
    }

    /// Of the file that is written.
    fn bytes(&self) -> io::Result<u64> {
        let mut open = self.open.lock();
        Ok(self.opened(&mut open)?.bytes)
    }

    fn rotate(&self) -> io::Result<()> {
        *self.open.lock() = None;
        for age in (0..FILES - 1).rev() {
            match std::fs::rename(self.file(age), self.file(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, age: u64) -> PathBuf {
        match age {
            0 => self.path.clone(),
            age => self.path.with_extension(format!("{age}.jsonl")),
        }
    }
}

enum Reach {
    /// Survives the process.
    Kernel,
    /// Survives the machine.
    Disk,
}

fn ends_a_line(path: &Path, bytes: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    if bytes == 0 {
        return Ok(true);
    }
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, bytes - 1)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests;
