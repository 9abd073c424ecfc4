//! The command line: flags become the last configuration layer.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand};
use millrace_kit::{
    clock::Clock,
    config::{self, Faults, Layer},
    shell::Aids,
    signals::Signals,
    telemetry,
};

mod replay;
mod silence;

use super::Sidecar;
use crate::{
    config::{Raw, Settings, check_files, quick_start, resolve},
    discovery, scaling, unit_test,
};

/// Exit status for bad configuration or rules (`EX_USAGE`).
const BAD_CONFIG: u8 = 64;

#[derive(Debug, Parser)]
#[command(name = "millrace-sidecar", version, about = "Scrapes, evaluates alert rules, shows dashboards")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Scrape targets, evaluate rules, notify, and show it all.
    Serve(Serve),
    /// Validate rule and scaling files; every fault at once.
    Check {
        /// Files in Prometheus' rule format, and policy files (`*.toml`).
        #[arg(required = true, value_name = "RULES")]
        files: Vec<String>,
    },
    /// Run unit tests of rules, in promtool's format.
    Test {
        /// Files with `rule_files` and `tests`.
        #[arg(required = true, value_name = "UNIT")]
        files: Vec<PathBuf>,
    },
    /// What a scaling policy would have done on recorded metrics.
    Replay(replay::Replay),
    /// Set, list and end silences of a running sidecar.
    Silence(silence::Silence),
    /// Print the configuration reference.
    Docs,
    #[command(flatten)]
    Aids(Aids),
}

#[derive(Debug, Args)]
struct Serve {
    /// TOML configuration file; without it the defaults are those of a quick start (5 s intervals).
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Address and port of dashboard, API and metrics [default: 127.0.0.1:8090].
    #[arg(long, value_name = "A:P")]
    listen: Option<String>,
    /// A target to scrape: base URL (then /metrics is appended) or full URL. May be repeated; replaces those of the
    /// file [default: http://127.0.0.1:8081].
    #[arg(long, value_name = "URL")]
    target: Vec<String>,
    /// Where samples and alert states survive a restart [default: millrace-sidecar in the user's state directory].
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// Any setting, by its dotted key.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// Parses the arguments and runs the command to its exit status.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => self::serve(&serve),
        Command::Check { files } => check(&files),
        Command::Test { files } => test(&files),
        Command::Silence(silence) => match silence.run() {
            Ok(text) => {
                say(&text);
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        },
        Command::Replay(replay) => replay.run(),
        Command::Docs => {
            say(&config::reference::<Raw>("Sidecar configuration reference"));
            ExitCode::SUCCESS
        }
        Command::Aids(aids) => match aids.print(Cli::command()) {
            Ok(text) => {
                say(&String::from_utf8_lossy(&text));
                ExitCode::SUCCESS
            }
            Err(error) => refuse(&error),
        },
    }
}

fn serve(serve: &Serve) -> ExitCode {
    let settings = match load(serve) {
        Ok(settings) => settings,
        Err(faults) => return refuse(&faults),
    };
    if let Err(error) = telemetry::install(&settings.log) {
        complain(&error);
    }
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            runtime.block_on(async {
                let signals = Signals::listen()?;
                let sidecar = Sidecar::start(settings, Clock::System)?;
                say(&format!("dashboard on http://{}\n", sidecar.address()));
                sidecar.run(signals).await.map_err(anyhow::Error::from)
            })
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn load(serve: &Serve) -> Result<Settings, Faults> {
    let mut layers = vec![match &serve.config {
        Some(file) => read(file)?,
        None => quick_start(),
    }];
    layers.push(Layer::env("MILLRACE_SIDECAR", environment()));
    layers.push(Layer::flags(flags(serve)?));
    let mut raw: Raw = config::load(&layers)?;
    if !serve.target.is_empty() {
        let target = |url: &String| discovery::Config { url: url.clone(), ..Default::default() };
        raw.targets = serve.target.iter().map(target).collect();
    }
    resolve(&raw)
}

fn flags(serve: &Serve) -> Result<Vec<(String, String, String)>, Faults> {
    let data_dir = serve.data_dir.as_ref().map(|dir| dir.display().to_string());
    let mut flags = Vec::new();
    for (flag, key, value) in
        [("--listen", "http.listen", &serve.listen), ("--data-dir", "data_dir", &data_dir)]
    {
        if let Some(value) = value {
            flags.push((flag.to_owned(), key.to_owned(), value.clone()));
        }
    }
    let mut faults = Faults::default();
    for pair in &serve.set {
        match pair.split_once('=') {
            Some((key, value)) => flags.push(("--set".to_owned(), key.to_owned(), value.to_owned())),
            None => faults.push(pair, "--set wants section.key=value"),
        }
    }
    faults.into_result(flags)
}

/// Variables that are not Unicode cannot be ours.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn read(file: &Path) -> Result<Layer, Faults> {
    let name = file.display().to_string();
    std::fs::read_to_string(file).map(|text| Layer::file(name.clone(), text)).map_err(|error| {
        let mut faults = Faults::default();
        faults.push(name, error.to_string());
        faults
    })
}

fn check(files: &[String]) -> ExitCode {
    let (policies, rules): (Vec<String>, Vec<String>) =
        files.iter().cloned().partition(|file| file.ends_with(".toml"));
    let mut good = Vec::new();
    let mut faults = Vec::new();
    match check_files(&rules) {
        Ok(found) => {
            good.extend(
                found
                    .into_iter()
                    .map(|(file, groups, rules)| format!("{file}: {groups} groups, {rules} rules")),
            );
        }
        Err(found) => faults.extend(found.iter().map(ToString::to_string)),
    }
    for file in &policies {
        match scaling::check_file(file) {
            Ok((groups, signals)) => good.push(format!("{file}: {groups} groups, {signals} signals")),
            Err(found) => faults.extend(found.0.iter().map(ToString::to_string)),
        }
    }
    if faults.is_empty() {
        good.iter().for_each(|line| say(&format!("{line}: good\n")));
        return ExitCode::SUCCESS;
    }
    for fault in faults {
        let _ = writeln!(std::io::stderr(), "{fault}");
    }
    ExitCode::from(BAD_CONFIG)
}

/// 1 when a test fails, 64 when a file cannot be run.
fn test(files: &[PathBuf]) -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    let mut unusable = false;
    for file in files {
        let outcome = unit_test::run_file(file);
        for warning in &outcome.warnings {
            complain(warning);
        }
        if outcome.passed() {
            say(&format!("{}: passed\n", file.display()));
            continue;
        }
        say(&format!("{}: FAILED\n", file.display()));
        for failure in outcome.faults.iter().chain(&outcome.failures) {
            say(&format!("  {failure}\n"));
        }
        unusable |= !outcome.faults.is_empty();
        status = ExitCode::from(if unusable { BAD_CONFIG } else { 1 });
    }
    status
}

fn refuse(what: &dyn std::fmt::Display) -> ExitCode {
    complain(what);
    ExitCode::from(BAD_CONFIG)
}

fn complain(what: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "millrace-sidecar: {what}");
}

/// To standard output, which may be closed.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
