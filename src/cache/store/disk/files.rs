//! The files that foyer keeps its blocks in: made whole at start, known to be ours, and read for the order they were
//! written in.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use crate::cache::entry;

/// Where foyer may write.
pub fn folder(dir: &Path) -> PathBuf {
    dir.join("blocks")
}

/// What the files are like: others are not read.
fn layout(segment: u64) -> String {
    format!("millrace blocks of {segment} bytes, entries of form {}\n", entry::FORM)
}

/// What stands in `dir` from an earlier run: of each block, the number of its first entry. What another version or another
/// configuration has written is discarded.
pub fn inspect(dir: &Path, segment: u64, capacity: u64) -> io::Result<Vec<Option<u64>>> {
    let (folder, layout) = (folder(dir), layout(segment));
    let count = usize::try_from(capacity / segment).unwrap_or(usize::MAX);
    let found = match fs::read(dir.join("layout")) {
        Ok(found) => Some(found),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => None,
        Err(other) => return Err(other),
    };
    if found.as_deref() != Some(layout.as_bytes()) {
        if folder.symlink_metadata().is_ok() {
            tracing::warn!(
                "what is in {} is of another version or size: starting with an empty one",
                folder.display()
            );
        }
        clear(dir)?;
        write_whole(&dir.join("layout"), layout.as_bytes())?;
    }
    fs::create_dir_all(&folder)?;
    let mut before = vec![None; count];
    for file in fs::read_dir(&folder)? {
        let path = file?.path();
        let Some(place) = number(&path).and_then(|number| before.get_mut(number)) else {
            tracing::warn!("{} is not part of the disk tier: removed", path.display());
            remove(&path)?;
            continue;
        };
        let length = path.metadata()?.len();
        if length != segment {
            tracing::warn!(
                "{} has {length} bytes of {segment}: what is missing is fetched again",
                path.display()
            );
        }
        *place = first_sequence(&path)?;
    }
    leave_one_blank(&folder, &mut before)?;
    Ok(before)
}

/// Gives every file its space for good, so that writing can never find the filesystem full.
pub fn allocate(dir: &Path, segment: u64) -> io::Result<()> {
    for file in fs::read_dir(folder(dir))? {
        let file = OpenOptions::new().write(true).open(file?.path())?;
        match fallocate(&file, FallocateFlags::empty(), 0, segment) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP) => return Ok(()),
            Err(reason) => return Err(reason.into()),
        }
    }
    Ok(())
}

/// Nothing of what was stored is left.
pub fn clear(dir: &Path) -> io::Result<()> {
    remove(&folder(dir))
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(missing) => Err(missing),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// In one step, also for whoever comes after a crash.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(partial, path)
}

/// foyer names its files by number.
fn number(path: &Path) -> Option<usize> {
    path.file_name()?.to_str()?.rsplit('-').next()?.parse().ok()
}

/// Begins with: checksum of the page (8 bytes), count (4), then for each entry hash (8), sequence (8), place (8). Only the
/// order of eviction hangs on it.
fn first_sequence(path: &Path) -> io::Result<Option<u64>> {
    let mut head = [0; 28];
    match File::open(path)?.read_exact_at(&mut head, 0) {
        Err(short) if short.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut sequence = [0; 8];
    sequence.copy_from_slice(&head[20..]);
    Ok((head[8..12] != [0; 4]).then(|| u64::from_be_bytes(sequence)))
}

/// foyer frees a block only when it takes another one. When it was killed just before it had freed the last, it would
/// wait forever.
fn leave_one_blank(folder: &Path, before: &mut [Option<u64>]) -> io::Result<()> {
    if before.iter().any(Option::is_none) {
        return Ok(());
    }
    let oldest = before.iter().enumerate().min_by_key(|(_, sequence)| **sequence).map(|(block, _)| block);
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if number(&path) == oldest {
            OpenOptions::new().write(true).open(path)?.write_all_at(&[0; 4096], 0)?;
        }
    }
    if let Some(oldest) = oldest {
        before[oldest] = None;
    }
    Ok(())
}
