//! The command line: flags become the last configuration layer.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory, Parser, Subcommand};
use millrace_kit::{
    clock::Clock,
    config::{self, Faults, Layer},
    shell::Aids,
    signals::Signals,
    telemetry,
};

use super::{Server, explain, purge, remote, sign, token};
use crate::config::{Raw, exposed_secrets, raw, resolve};

/// Exit status for a bad configuration (`EX_USAGE`).
const BAD_CONFIG: u8 = 64;

#[derive(Debug, Parser)]
#[command(name = "millrace", version, about = "CDN edge cache and media delivery server")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients from the cache and the origins.
    Serve(Serve),
    /// Validate a configuration file; every fault at once.
    Check {
        /// The file to check.
        file: PathBuf,
    },
    /// Ask a running server whether it is ready (for container health checks).
    Health {
        /// Its admin address.
        #[arg(long, value_name = "A:P", default_value = "127.0.0.1:8081")]
        admin: String,
    },
    /// Ask a running server why a request would hit or miss, and what would change that.
    Explain(explain::Explain),
    /// Have a running server forget what it has stored.
    Purge(purge::Purge),
    /// Make a token for this server's `Authorization: Bearer`.
    Token(token::Token),
    /// Sign an address, for whoever has it.
    Sign(sign::Sign),
    /// Print the configuration reference.
    Docs,
    #[command(flatten)]
    Aids(Aids),
}

#[derive(Debug, Args)]
struct Serve {
    /// TOML configuration file.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Address and port for clients [default: 127.0.0.1:8080].
    #[arg(long, value_name = "A:P")]
    listen: Option<String>,
    /// Address and port for health, metrics and administration [default: 127.0.0.1:8081].
    #[arg(long, value_name = "A:P")]
    admin: Option<String>,
    /// An origin; several form a fallback chain, in order.
    #[arg(long, value_name = "URL|DIR")]
    origin: Vec<String>,
    /// Where the disk tier lives.
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// Size of the memory tier [default: 512MiB].
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Size of the disk tier; 0: none [default: 10GiB, at most half of what is free].
    #[arg(long, value_name = "SIZE")]
    disk: Option<String>,
    /// Threads that serve clients [default: one per core].
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Admin address of a server to fill the cache from before this one is ready; may be given several times.
    #[arg(long, value_name = "URL")]
    warm_from: Vec<String>,
    /// Any setting, by its dotted key.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// Parses the arguments and runs the command to its exit status.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => self::serve(&serve),
        Command::Check { file } => check(&file),
        Command::Health { admin } => health(&admin),
        Command::Explain(explain) => explain::run(&explain),
        Command::Purge(purge) => purge::run(&purge),
        Command::Token(token) => token::run(&token),
        Command::Sign(sign) => sign::run(&sign),
        Command::Docs => {
            say(&config::reference::<Raw>("Configuration reference"));
            ExitCode::SUCCESS
        }
        Command::Aids(aids) => match aids.print(Cli::command()) {
            Ok(text) => {
                say(&String::from_utf8_lossy(&text));
                ExitCode::SUCCESS
            }
            Err(error) => complain(&error),
        },
    }
}

fn serve(serve: &Serve) -> ExitCode {
    let loaded = load(serve).and_then(|raw| Ok((resolve(&raw)?, exposed_secrets(&raw))));
    let (settings, exposed) = match loaded {
        Ok(loaded) => loaded,
        Err(faults) => return complain(&faults),
    };
    if let Err(error) = telemetry::install(&settings.log) {
        complain(&error);
    }
    exposed.iter().for_each(|exposed| tracing::warn!("{exposed}"));
    let result = run(async {
        let signals = Signals::listen()?;
        let server = Server::start(settings, Clock::System).await?;
        say(&format!("listening on http://{}\n", server.data_address()));
        say(&format!("admin on http://{}\n", server.admin_address()));
        if let Some(address) = server.secure_address() {
            say(&format!("listening on https://{address}\n"));
        }
        server.run(signals, || load(serve)).await.map_err(anyhow::Error::from)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// How long a thread that still blocks is waited for when all else has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Runs this to its end on a runtime of its own. A blocking call that hangs, as on a dead disk, is left behind.
fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

fn load(serve: &Serve) -> Result<Raw, Faults> {
    let mut layers = Vec::new();
    if let Some(file) = &serve.config {
        layers.push(read(file)?);
    }
    layers.push(Layer::env("MILLRACE", environment()));
    layers.push(Layer::flags(flags(serve)?));
    let mut raw: Raw = config::load(&layers)?;
    if !serve.origin.is_empty() {
        raw.origins =
            serve.origin.iter().map(|url| raw::Origin { url: url.clone(), ..Default::default() }).collect();
    }
    if !serve.warm_from.is_empty() {
        raw.warm.peers.clone_from(&serve.warm_from);
        raw.warm.at_start = true;
    }
    Ok(raw)
}

fn flags(serve: &Serve) -> Result<Vec<(String, String, String)>, Faults> {
    let data_dir = serve.data_dir.as_ref().map(|dir| dir.display().to_string());
    let mut flags = Vec::new();
    for (flag, key, value) in [
        ("--listen", "server.listen", &serve.listen),
        ("--admin", "server.admin", &serve.admin),
        ("--data-dir", "cache.data_dir", &data_dir),
        ("--memory", "cache.memory", &serve.memory),
        ("--disk", "cache.disk", &serve.disk),
        ("--workers", "server.workers", &serve.workers),
    ] {
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
pub(super) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

pub(super) fn read(file: &Path) -> Result<Layer, Faults> {
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Layer::file(name, text)),
        Err(error) => {
            let mut faults = Faults::default();
            faults.push(name, error.to_string());
            Err(faults)
        }
    }
}

fn check(file: &Path) -> ExitCode {
    let raw = read(file).and_then(|layer| config::load::<Raw>(&[layer]));
    match raw.and_then(|raw| resolve(&raw).map(|_| exposed_secrets(&raw))) {
        Ok(exposed) => {
            for exposed in &exposed {
                complain(exposed);
            }
            say(&format!("{}: good\n", file.display()));
            ExitCode::SUCCESS
        }
        Err(faults) => complain(&faults),
    }
}

fn health(admin: &str) -> ExitCode {
    match remote::get(admin, "/health/ready", "", Duration::from_secs(5)) {
        Ok(answer) if answer.status == 200 => {
            say("ready\n");
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            complain(&format_args!("not ready: {} {}", answer.status, answer.body));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format_args!("{admin}: {error}"));
            ExitCode::FAILURE
        }
    }
}

pub(super) fn complain(what: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "millrace: {what}");
    ExitCode::from(BAD_CONFIG)
}

/// To standard output, which may be closed.
pub(super) fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_call_that_hangs_does_not_keep_the_process() {
        let (_held, never) = mpsc::channel::<()>();
        let (ended, awaited) = mpsc::channel();
        std::thread::spawn(move || {
            let result = run(async {
                tokio::task::spawn_blocking(move || never.recv());
                Ok(())
            });
            ended.send(result.is_ok())
        });
        assert_eq!(awaited.recv_timeout(Duration::from_secs(20)), Ok(true));
    }
}
