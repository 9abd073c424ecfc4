//! The tiers of the cache: how large they are, and where the disk's is.

use std::path::{Path, PathBuf};

use millrace_kit::config::Faults;

use super::{super::raw, bytes};
use crate::cache;

const DEFAULT_DISK: u64 = 10 << 30;
/// With less the disk tier is not worth its upkeep.
const LEAST_DISK: u64 = 64 << 20;

pub fn cache(raw: &raw::Cache, faults: &mut Faults) -> cache::Config {
    let memory = bytes(&raw.memory, "cache.memory", faults);
    if memory < 8 << 20 {
        faults.push("cache.memory", "must be at least 8MiB");
    }
    let block_size = bytes(&raw.block_size, "cache.block_size", faults);
    if !block_size.is_power_of_two() || !(64 << 10..=16 << 20).contains(&block_size) {
        faults.push("cache.block_size", "must be a power of two from 64KiB to 16MiB");
    }
    let dir = data_dir(&raw.data_dir);
    let disk = match raw.disk.as_str() {
        "auto" => automatic_disk(&dir),
        text => match bytes(text, "cache.disk", faults) {
            0 => None,
            size if size < LEAST_DISK => {
                faults.push("cache.disk", "must be 0 or at least 64MiB");
                None
            }
            size => Some(size),
        },
    };
    let write_rate = bytes(&raw.disk_write_rate, "cache.disk_write_rate", faults);
    cache::Config {
        memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        disk: disk.map(|bytes| cache::DiskConfig { dir: dir.join("cache"), bytes, write_rate }),
        block_size: u32::try_from(block_size).unwrap_or(1 << 20),
    }
}

fn data_dir(text: &str) -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match text {
        "" => var("XDG_CACHE_HOME")
            .or_else(|| var("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
            .join("millrace"),
        text => PathBuf::from(text),
    }
}

/// What a user who said nothing can spare; what an earlier run has taken already counts as free.
fn automatic_disk(dir: &Path) -> Option<u64> {
    let existing = dir.ancestors().find(|ancestor| ancestor.exists())?;
    let filesystem = rustix::fs::statvfs(existing).ok()?;
    let taken = cache::disk_usage(&dir.join("cache"));
    let spare = (filesystem.f_bavail * filesystem.f_frsize + taken) / 2;
    Some(spare.min(DEFAULT_DISK)).filter(|spare| *spare >= LEAST_DISK)
}
