//! `/proc/diskstats`: what block devices do.

use super::{Exposition, Type};

/// The kernel counts in these, whatever the device's own are.
const SECTOR_BYTES: f64 = 512.0;

/// What the kernel counts in. Milliseconds are divided, since a thousandth is no binary number.
#[derive(Clone, Copy)]
enum Unit {
    One,
    Sectors,
    Millis,
}

/// Column after the name, unit, metric, help.
const COLUMNS: [(usize, Unit, &str, &str); 8] = [
    (0, Unit::One, "node_disk_reads_completed_total", "Reads completed."),
    (2, Unit::Sectors, "node_disk_read_bytes_total", "Bytes read."),
    (3, Unit::Millis, "node_disk_read_time_seconds_total", "Seconds spent on all reads."),
    (4, Unit::One, "node_disk_writes_completed_total", "Writes completed."),
    (6, Unit::Sectors, "node_disk_written_bytes_total", "Bytes written."),
    (7, Unit::Millis, "node_disk_write_time_seconds_total", "Seconds spent on all writes."),
    (9, Unit::Millis, "node_disk_io_time_seconds_total", "Seconds with something under way."),
    (10, Unit::Millis, "node_disk_io_time_weighted_seconds_total", "The same, by how much was under way."),
];

pub(super) fn read(text: &str, found: &mut Exposition) {
    let disks = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(2);
        let device = words.next().filter(|device| is_disk(device))?;
        Some((device, words.map(|word| word.parse().unwrap_or(0.0)).collect::<Vec<f64>>()))
    });
    let disks: Vec<_> = disks.collect();
    for (column, unit, name, help) in COLUMNS {
        let mut family = found.family(name, Type::Counter, help);
        for (device, values) in &disks {
            if let Some(value) = values.get(column) {
                let value = match unit {
                    Unit::One => *value,
                    Unit::Sectors => value * SECTOR_BYTES,
                    Unit::Millis => value / 1000.0,
                };
                family.sample(&[("device", device)], value);
            }
        }
    }
}

/// Neither made of memory nor a part of another.
fn is_disk(device: &str) -> bool {
    if ["ram", "loop", "fd", "zram"].iter().any(|prefix| device.starts_with(prefix)) {
        return false;
    }
    let stem = device.trim_end_matches(|char: char| char.is_ascii_digit());
    let numbered = stem.len() < device.len();
    let lettered = ["sd", "hd", "vd", "xvd"].iter().any(|prefix| device.starts_with(prefix));
    let part = device.starts_with("nvme") || device.starts_with("mmcblk");
    !(numbered && (lettered || part && stem.ends_with('p')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_whole_disks() {
        for (device, is) in [
            ("sda", true),
            ("sda1", false),
            ("nvme0n1", true),
            ("nvme0n1p2", false),
            ("vda", true),
            ("dm-0", true),
            ("md127", true),
            ("loop0", false),
            ("ram3", false),
            ("mmcblk0", true),
            ("mmcblk0p1", false),
        ] {
            assert_eq!(is_disk(device), is, "{device}");
        }
    }
}
