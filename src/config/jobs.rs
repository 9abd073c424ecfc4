//! From `[jobs]` to the queue and those who work it off.

use std::time::Duration;

use bytesize::ByteSize;
use millrace_kit::config::Faults;

use super::{
    Raw, database,
    raw::{Mode, Ready},
    uploads,
};
use crate::{
    jobs::{Config, Part},
    media::ffmpeg::Ffmpeg,
};

#[derive(Debug, Clone)]
pub struct JobSettings {
    pub config: Config,
    pub ffmpeg: Ffmpeg,
    /// What is made of videos that are put here.
    pub warm: Vec<Part>,
}

/// None: there are no jobs.
pub(super) fn resolve(raw: &Raw, has_uploads: bool, faults: &mut Faults) -> Option<JobSettings> {
    let jobs = &raw.jobs;
    for (field, number, most) in [
        ("workers", jobs.workers, 64),
        ("queue", jobs.queue, 100_000),
        ("per_owner", jobs.per_owner, 100_000),
        ("attempts", jobs.attempts, 20),
        ("timeout_secs", jobs.timeout_secs, 7 * 24 * 3600),
        ("keep_secs", jobs.keep_secs, u32::MAX),
    ] {
        if !(1..=most).contains(&number) {
            faults.push(format!("jobs.{field}"), format!("must be from 1 to {most}"));
        }
    }
    let scratch = jobs.scratch.parse::<ByteSize>().map_or(0, |size| size.as_u64());
    if scratch < 16 << 20 {
        faults.push(
            "jobs.scratch",
            format!("{:?} is not a size such as 20GiB, of at least 16MiB", jobs.scratch),
        );
    }
    let wanted = match jobs.mode {
        Mode::Auto => has_uploads,
        Mode::On => true,
        Mode::Off => false,
    };
    if has_uploads && !wanted && !raw.uploads.warm.is_empty() {
        faults.push("uploads.warm", "wants jobs, which jobs.mode switches off");
    }
    let mut warm = Vec::new();
    for part in &raw.uploads.warm {
        match part {
            Ready::Poster => warm.push(Part::Poster),
            Ready::Ladder => warm.extend([Part::Playlists, Part::Segments]),
        }
    }
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let time = seconds(jobs.timeout_secs);
    let (connections, ca_file) = (jobs.database_connections, &jobs.database_ca_file);
    let database = database::resolve(&jobs.database, connections, ca_file, "jobs.database", faults);
    wanted.then(|| JobSettings {
        config: Config {
            dir: uploads::dir(raw, &jobs.dir, "jobs"),
            database,
            workers: jobs.workers as usize,
            queue: jobs.queue as usize,
            per_owner: jobs.per_owner as usize,
            attempts: jobs.attempts,
            time,
            scratch_bytes: scratch,
            keep: seconds(jobs.keep_secs),
            threads: super::resolve::or_cores(jobs.threads),
        },
        ffmpeg: Ffmpeg::new(&raw.media.ffmpeg, time),
        warm,
    })
}
