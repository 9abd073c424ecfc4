//! The directory of the disk tier: locked by one server, large enough, and with a hash seed of its own.

use std::{fs::File, io, os::unix::fs::MetadataExt, path::Path};

use super::{
    DiskConfig, Error,
    disk::files::{self, write_whole},
};
use crate::cache::KeySeed;

/// One server per directory.
pub fn lock(dir: &Path) -> Result<File, Error> {
    let failed = |source| Error::Directory { dir: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let lock = File::create(dir.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse { dir: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Whether `lock` is still what the next server would meet. It is not when somebody has removed the directory: our files
/// are open, but nobody will find them again.
pub fn is_held(dir: &Path, lock: &File) -> io::Result<bool> {
    let (held, there) = (lock.metadata()?, dir.join("lock").metadata());
    match there {
        Ok(there) => Ok((held.dev(), held.ino()) == (there.dev(), there.ino())),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(other) => Err(other),
    }
}

/// The hash seed of this directory, made at first use. Without it nothing stored would be found again.
pub fn load_seed(dir: &Path) -> Result<KeySeed, Error> {
    let failed = |source| Error::Directory { dir: dir.to_owned(), source };
    match std::fs::read(dir.join("seed")) {
        Ok(bytes) if bytes.len() == 8 => {
            let mut seed = [0; 8];
            seed.copy_from_slice(&bytes);
            Ok(KeySeed(u64::from_le_bytes(seed)))
        }
        Ok(_) => new_seed(dir),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => new_seed(dir),
        Err(other) => Err(failed(other)),
    }
}

/// Another one: nothing that is stored is found any more.
pub fn new_seed(dir: &Path) -> Result<KeySeed, Error> {
    let seed = KeySeed(fastrand::u64(..));
    save_seed(dir, seed)?;
    Ok(seed)
}

pub fn save_seed(dir: &Path, seed: KeySeed) -> Result<(), Error> {
    write_whole(&dir.join("seed"), &seed.0.to_le_bytes())
        .map_err(|source| Error::Directory { dir: dir.to_owned(), source })
}

/// Bytes on disk that the tier in `dir` holds already.
pub fn disk_usage(dir: &Path) -> u64 {
    std::fs::read_dir(files::folder(dir))
        .into_iter()
        .flatten()
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

/// foyer misbehaves on a full disk, so the tier must fit before it is opened.
pub fn check_space(disk: &DiskConfig) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Directory { dir: disk.dir.clone(), source };
    let filesystem = rustix::fs::statvfs(&disk.dir).map_err(|reason| failed(reason.into()))?;
    let held = disk_usage(&disk.dir);
    let free = filesystem.f_bavail * filesystem.f_frsize + held;
    match free >= disk.bytes {
        true => Ok(()),
        false => Err(Error::NoSpace { dir: disk.dir.clone(), free, wanted: disk.bytes }),
    }
}
