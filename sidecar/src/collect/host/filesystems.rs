//! Room on file systems, of those that lie on a disk of this machine: others may hang, and made-up ones have no room to speak
//! of.

use std::collections::HashSet;

use super::{Exposition, Type};

/// Kinds that are looked at.
const ON_DISK: [&str; 12] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "overlay", "vfat", "ntfs3", "tmpfs", "bcachefs"];
/// Mounts looked at.
const MAX_MOUNTS: usize = 512;

struct Mount<'a> {
    device: &'a str,
    point: String,
    kind: &'a str,
    read_only: bool,
    stat: rustix::fs::StatVfs,
}

pub(super) fn read(mounts: &str, found: &mut Exposition) {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for line in mounts.lines().take(MAX_MOUNTS) {
        let mut words = line.split(' ');
        let (Some(device), Some(point), Some(kind), Some(options)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let point = unescaped(point);
        let hidden = ["/proc", "/sys", "/dev", "/run/docker"].iter().any(|top| point.starts_with(top));
        if !ON_DISK.contains(&kind) || hidden || !seen.insert(point.clone()) {
            continue;
        }
        // One that cannot be looked at is not ours.
        let Ok(stat) = rustix::fs::statvfs(point.as_str()) else { continue };
        if stat.f_blocks > 0 {
            let read_only = options.split(',').any(|option| option == "ro");
            all.push(Mount { device, point, kind, read_only, stat });
        }
    }
    type Value = fn(&Mount<'_>) -> f64;
    let columns: [(&str, &str, Value); 6] = [
        ("node_filesystem_size_bytes", "Size.", |mount| (mount.stat.f_blocks * mount.stat.f_frsize) as f64),
        ("node_filesystem_free_bytes", "Free, also what only root may take.", |mount| {
            (mount.stat.f_bfree * mount.stat.f_frsize) as f64
        }),
        ("node_filesystem_avail_bytes", "Free for everybody.", |mount| {
            (mount.stat.f_bavail * mount.stat.f_frsize) as f64
        }),
        ("node_filesystem_files", "File nodes there are.", |mount| mount.stat.f_files as f64),
        ("node_filesystem_files_free", "File nodes free.", |mount| mount.stat.f_ffree as f64),
        ("node_filesystem_readonly", "1: mounted read-only.", |mount| f64::from(u8::from(mount.read_only))),
    ];
    for (name, help, value) in columns {
        let mut family = found.family(name, Type::Gauge, help);
        for mount in &all {
            let labels = [("device", mount.device), ("fstype", mount.kind), ("mountpoint", &mount.point)];
            family.sample(&labels, value(mount));
        }
    }
}

/// Blanks are written as `\040`.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
