//! The directory of the disk tier: locked by one server, large enough, and with a hash seed of its own.

use std::path::Path;

use super::{DiskConfig, Error};
use crate::cache::KeySeed;

/// One server per directory.
pub fn lock(dir: &Path) -> Result<std::fs::File, Error> {
    let failed = |source| Error::Directory { dir: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let lock = std::fs::File::create(dir.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse { dir: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
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
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => new_seed(dir),
        Err(other) => Err(failed(other)),
    }
}

/// Another one: nothing that is stored is found any more.
pub fn new_seed(dir: &Path) -> Result<KeySeed, Error> {
    let failed = |source| Error::Directory { dir: dir.to_owned(), source };
    let seed = fastrand::u64(..);
    let partial = dir.join("seed.partial");
    std::fs::write(&partial, seed.to_le_bytes()).map_err(failed)?;
    std::fs::rename(partial, dir.join("seed")).map_err(failed)?;
    Ok(KeySeed(seed))
}

/// Bytes on disk that the tier in `dir` holds already.
pub fn disk_usage(dir: &Path) -> u64 {
    std::fs::read_dir(dir.join("blocks"))
        .into_iter()
        .flatten()
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|file| std::os::unix::fs::MetadataExt::blocks(&file) * 512)
        .sum()
}

/// foyer misbehaves on a full disk, so the tier must fit before it is opened.
pub fn check_space(disk: &DiskConfig) -> Result<(), Error> {
    let failed = |source: std::io::Error| Error::Directory { dir: disk.dir.clone(), source };
    let filesystem = rustix::fs::statvfs(&disk.dir).map_err(|reason| failed(reason.into()))?;
    let held = disk_usage(&disk.dir);
    let free = filesystem.f_bavail * filesystem.f_frsize + held;
    match free >= disk.bytes {
        true => Ok(()),
        false => Err(Error::NoSpace { dir: disk.dir.clone(), free, wanted: disk.bytes }),
    }
}
