//! Opens a file below the root without ever leaving it, and reads it in chunks while watching that it stays the same.
//! Everything here blocks.

use std::{fs::File, io, ops::Range, os::fd::OwnedFd, path::Path};

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat},
    io::{Errno, pread},
};

use super::{super::validators::Validators, path::FilePath};

/// Bytes per read, and the most that one reader holds in memory.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

pub(super) enum Lookup {
    File(Opened),
    Absent,
    Denied,
}

pub(super) struct Opened {
    file: File,
    stat: Stat,
}

/// What is left to read of an open file.
pub(super) struct Reader {
    opened: Opened,
    range: Range<u64>,
    /// Read ahead at opening; still part of the body.
    ready: Option<Bytes>,
}

pub(super) enum ReadFailure {
    /// The file is no longer the one whose validators were sent.
    Changed(String),
    Io(io::Error),
}

/// A root that is gone is an error, not an absent file: it would look as if everything had been deleted.
pub(super) fn open(root: &Path, path: &FilePath, follow_symlinks: bool) -> io::Result<Lookup> {
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let fd = match walk(root, path, follow_symlinks) {
        Ok(fd) => fd,
        // ELOOP is also what O_NOFOLLOW says to a link in the last place; ENXIO comes from sockets.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO | Errno::INVAL) => {
            return Ok(Lookup::Absent);
        }
        Err(Errno::ACCESS | Errno::PERM) => return Ok(Lookup::Denied),
        Err(error) => return Err(error.into()),
    };
    let stat = fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Lookup::Absent);
    }
    Ok(Lookup::File(Opened { file: File::from(fd), stat }))
}

/// One step per name, each relative to the directory opened before: a link put in between under our feet is met by
/// `O_NOFOLLOW`, where a check of the whole path beforehand would be outrun. No name is `..` or holds a slash.
fn walk(root: OwnedFd, path: &FilePath, follow_symlinks: bool) -> rustix::io::Result<OwnedFd> {
    let links = if follow_symlinks { OFlags::empty() } else { OFlags::NOFOLLOW };
    let mut directory = root;
    for name in path.directories() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | links;
        directory = openat(&directory, name, flags, Mode::empty())?;
    }
    // Without O_NONBLOCK, opening a FIFO waits for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | links;
    openat(&directory, path.file(), flags, Mode::empty())
}

impl Opened {
    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    pub(super) fn validators(&self) -> Validators {
        let nanos = u32::try_from(self.stat.st_mtime_nsec).unwrap_or(0);
        Validators::of_file(self.stat.st_mtime, nanos, self.len(), self.stat.st_ino)
    }

    /// `range` lies within the file. The first chunk is read at once: small files need no second trip to the pool.
    pub(super) fn into_reader(self, range: Range<u64>) -> io::Result<Reader> {
        let mut reader = Reader { opened: self, range, ready: None };
        if reader.remaining() > 0 {
            match reader.read_chunk() {
                Ok(chunk) => reader.ready = Some(chunk),
                Err(ReadFailure::Io(error)) => return Err(error),
                // Said again by the next read, in its place within the body.
                Err(ReadFailure::Changed(_)) => {}
            }
        }
        Ok(reader)
    }
}

impl Reader {
    /// Bytes that the body will still yield.
    pub(super) fn remaining(&self) -> u64 {
        let ready = self.ready.as_ref().map_or(0, Bytes::len) as u64;
        self.range.end - self.range.start + ready
    }

    pub(super) fn take_ready(&mut self) -> Option<Bytes> {
        self.ready.take()
    }

    /// Fills a whole chunk unless the range ends before.
    pub(super) fn read_chunk(&mut self) -> Result<Bytes, ReadFailure> {
        let wanted = (self.range.end - self.range.start).min(CHUNK_BYTES as u64) as usize;
        let mut chunk: Vec<u8> = Vec::with_capacity(wanted);
        while chunk.len() < wanted {
            let at = self.range.start + chunk.len() as u64;
            match pread(&self.opened.file, spare_capacity(&mut chunk), at) {
                Ok(0) => return Err(ReadFailure::Changed(format!("the file ends at byte {at}"))),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(ReadFailure::Io(error.into())),
            }
        }
        // The allocator may have given more room than asked for.
        chunk.truncate(wanted);
        self.check_unchanged()?;
        self.range.start += wanted as u64;
        Ok(Bytes::from(chunk))
    }

    /// A file overwritten in place would yield a mixture of two versions under one strong validator.
    fn check_unchanged(&self) -> Result<(), ReadFailure> {
        let now = fstat(&self.opened.file).map_err(|error| ReadFailure::Io(error.into()))?;
        let then = &self.opened.stat;
        let same = now.st_mtime == then.st_mtime
            && now.st_mtime_nsec == then.st_mtime_nsec
            && now.st_size == then.st_size;
        if same {
            Ok(())
        } else {
            Err(ReadFailure::Changed("the file was written to while it was read".into()))
        }
    }
}
