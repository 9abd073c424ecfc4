//! `millrace-sidecar replay`: reads what a sidecar has left in its data directory, or asks a Prometheus; changes nothing.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use millrace_kit::clock::{Clock, UnixMillis};

use super::{complain, refuse, say};
use crate::{
    model::time::parse_rfc3339,
    promql::parse_duration,
    scaling::{self, Bounds, Journal, Policies, Policy, Source, replay},
    series::{self, Store},
};

/// Samples of a snapshot are loaded whole.
const SERIES_BYTES: usize = 4 << 30;

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The policy file.
    #[arg(long, value_name = "F")]
    policy: PathBuf,
    /// RFC 3339, Unix seconds, or how long ago, as in `6h`.
    #[arg(long, value_name = "T")]
    from: String,
    /// The same; none: now.
    #[arg(long, value_name = "T")]
    to: Option<String>,
    /// Which group of the policy; without it all of them.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Data directory of the sidecar that has recorded: its journals, and its last snapshot of metrics.
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// A Prometheus that has the metrics, or a running sidecar, in place of the snapshot.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// Seconds between scrapes, for policies that do not say how old a sample may be.
    #[arg(long, value_name = "N", default_value_t = 15)]
    scrape_interval: u64,
    /// Writes a plot, SVG; with several groups the name of each goes before the ending.
    #[arg(long, value_name = "F")]
    plot: Option<PathBuf>,
}

impl Replay {
    pub(super) fn run(&self) -> ExitCode {
        let scrape_interval = Duration::from_secs(self.scrape_interval.max(1));
        let policies =
            match scaling::load(&self.policy.display().to_string(), Path::new("."), scrape_interval) {
                Ok(policies) => policies,
                Err(faults) => return refuse(&faults),
            };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let replayed =
            runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(self.replay(&policies)));
        match replayed {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) if error.is::<BadArgument>() => refuse(&error),
            Err(error) => {
                complain(&format!("{error:#}"));
                ExitCode::FAILURE
            }
        }
    }

    /// False when the journal's decisions are not made again as they were.
    async fn replay(&self, policies: &Policies) -> anyhow::Result<bool> {
        let now = Clock::System.unix_millis();
        let from = time("--from", &self.from, now)?;
        let to = self.to.as_ref().map_or(Ok(now), |to| time("--to", to, now))?;
        let source = self.source(policies)?;
        let wanted = |policy: &&Policy| self.group.as_ref().is_none_or(|name| policy.name == *name);
        let groups: Vec<&Policy> = policies.groups.iter().filter(wanted).collect();
        if groups.is_empty() {
            let names: Vec<_> = policies.groups.iter().map(|policy| policy.name.as_str()).collect();
            bail!(BadArgument(format!("the policy has no such group; it has: {}", names.join(", "))));
        }
        let mut exact = true;
        for policy in &groups {
            let journal = self.data_dir.as_ref().map(|data_dir| {
                Journal::new(&Bounds { folder: data_dir.join("scaling"), bytes: u64::MAX }, &policy.name)
            });
            let outcome = replay::replay(policy, journal.as_ref(), &source, from, to).await?;
            exact &= outcome.is_exact();
            say(&replay::table(&policy.name, &outcome));
            if let Some(plot) = &self.plot {
                let file = match groups.len() {
                    1 => plot.clone(),
                    _ => plot.with_extension(format!("{}.svg", policy.name)),
                };
                std::fs::write(&file, replay::svg(&policy.name, &outcome))
                    .with_context(|| file.display().to_string())?;
                say(&format!("plot: {}\n", file.display()));
            }
        }
        Ok(exact)
    }

    fn source(&self, policies: &Policies) -> anyhow::Result<Source> {
        if let Some(base) = self.prometheus.as_ref().or(policies.prometheus.as_ref()) {
            return Source::prometheus(base)
                .map_err(|error| anyhow!(BadArgument(format!("{base}: {error}"))));
        }
        let Some(data_dir) = &self.data_dir else {
            bail!(BadArgument("say --data-dir, or --prometheus".to_owned()));
        };
        let config = series::Config { retention_hours: u32::MAX / 3600, ..series::Config::default() };
        let store = Store::new(series::Bounds::new(&config, SERIES_BYTES));
        store.load(&data_dir.join("series.snapshot"))?;
        Ok(Source::own(Arc::new(store)))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadArgument(String);

fn time(flag: &str, text: &str, now: UnixMillis) -> Result<UnixMillis, BadArgument> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() < 1e12);
    let ago = || Some(now - i64::try_from(parse_duration(text)?.as_millis()).ok()?);
    let at = seconds.map(|seconds| (seconds * 1000.0) as i64).or_else(|| parse_rfc3339(text)).or_else(ago);
    at.ok_or_else(|| {
        let examples = "2026-01-31T12:00:00Z, 1767225600 or 6h";
        BadArgument(format!("{flag}: {text:?} is not a time, such as {examples}"))
    })
}
