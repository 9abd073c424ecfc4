//! The lock that an instance holds as its standard input, and who holds it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::Pid,
};

/// A process that ends leaves `/proc` a moment before the kernel gives back its lock.
const UNSEEN: Duration = Duration::from_secs(2);

/// Who holds a lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    pub(super) pid: Pid,
    lock: (u64, u64),
}

/// It stays empty.
pub(super) fn lock_file(folder: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).read(true).open(folder.join("lock"))
}

pub(super) fn is_held(folder: &Path) -> io::Result<bool> {
    let file = match File::open(folder.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Who holds the lock; none: nobody does any more.
#[expect(clippy::disallowed_methods, reason = "runs where files may be slow, on a thread that may wait")]
pub(super) fn awaited_holder(folder: &Path) -> io::Result<Option<Holder>> {
    let deadline = Instant::now() + UNSEEN;
    while is_held(folder)? {
        if let Some(holder) = holder(folder)? {
            return Ok(Some(holder));
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!(
                "who runs in {} cannot be seen in /proc",
                folder.display()
            )));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(None)
}

/// The leader of the instance's group, not what it may have started with the same standard input.
fn holder(folder: &Path) -> io::Result<Option<Holder>> {
    let lock = identity(&folder.join("lock"))?;
    let mut found: Option<Holder> = None;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(holder) = pid.map(|pid| Holder { pid, lock }).filter(Holder::holds) else { continue };
        let leads = rustix::process::getpgid(Some(holder.pid)).is_ok_and(|group| group == holder.pid);
        if leads || found.is_none() {
            found = Some(holder);
        }
    }
    Ok(found)
}

impl Holder {
    pub(super) fn holds(&self) -> bool {
        let input = format!("/proc/{}/fd/0", self.pid.as_raw_nonzero());
        identity(Path::new(&input)).is_ok_and(|file| file == self.lock)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::metadata(path)?;
    Ok((file.dev(), file.ino()))
}
