//! Certificates from an authority that speaks ACME (RFC 8555): ordered for each name, proven over HTTP, kept in files, and renewed in
//! time. Who uses them reads the files, and is told when there are new ones.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use millrace_kit::clock::Clock;

mod authority;
mod challenges;
mod due;
mod kept;

pub use challenges::{BELOW, Challenges};

use authority::Authority;
use due::Failures;
use kept::Kept;

/// Names are looked at so often at least, whatever the clock does meanwhile.
const LOOK: Duration = Duration::from_secs(3600);
/// An account has a limit for orders in an hour.
pub const MOST_NAMES: usize = 100;

#[derive(Debug, Clone)]
pub struct Config {
    /// Names and addresses, in lower case.
    pub names: Vec<String>,
    /// Begins with `https://`.
    pub directory: String,
    /// Such as `mailto:ops@example.com`; None: the authority is told of nobody.
    pub contact: Option<String>,
    /// PEM; trusted beside the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// Where all of it is kept.
    pub dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the authority: {0}")]
    Authority(#[from] instant_acme::Error),
    #[error("the authority takes no proof over HTTP for it")]
    NoHttp,
    #[error("the authority did not take the proof: {0}")]
    Refused(String),
    #[error("making a key: {0}")]
    Key(#[from] rcgen::Error),
    #[error("{0}: {1}")]
    File(PathBuf, String),
    #[error("connecting to the authority: {0}")]
    Setup(String),
}

/// Keeps certificates good.
pub struct Keeper {
    names: Vec<String>,
    authority: Authority,
    kept: Kept,
    clock: Clock,
    failures: HashMap<String, Failures>,
}

impl Config {
    /// The file that has a name's key and certificates, once there are some. Its name is the name's, but for colons.
    pub fn file(&self, name: &str) -> PathBuf {
        kept::file(&self.dir, name)
    }
}

/// Whether an authority may be asked for this: a name of letters, digits and hyphens, or an address. Names of all hosts below one
/// (`*.`) cannot be proven over HTTP.
pub fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let plain =
            label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    name.parse::<IpAddr>().is_ok() || name.len() <= 253 && name.split('.').all(is_label)
}

impl Keeper {
    /// Makes the directory if need be. Blocks.
    pub fn open(config: Config, challenges: Challenges, clock: Clock) -> Result<Self, Error> {
        let Config { names, directory, contact, ca_file, dir } = config;
        let kept = Kept::open(dir)?;
        let authority = Authority::new(directory, contact, ca_file.as_deref(), challenges)?;
        Ok(Self { names, authority, kept, clock, failures: HashMap::new() })
    }

    /// Orders what is missing or near its end, again and again. `renewed` hears of each file that has changed.
    pub async fn run(mut self, renewed: impl Fn(&Path)) {
        loop {
            let now = self.clock.unix_millis();
            let mut next = now.saturating_add(i64::try_from(LOOK.as_millis()).unwrap_or(i64::MAX));
            for name in self.names.clone() {
                let mut due = self.due(&name).await;
                if due <= self.clock.unix_millis() {
                    self.renew(&name, &renewed).await;
                    due = self.due(&name).await;
                }
                next = next.min(due);
            }
            let wait = u64::try_from(next.saturating_sub(self.clock.unix_millis())).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(wait.max(1000))).await;
        }
    }

    /// When a name is to be ordered next, in milliseconds since 1970.
    async fn due(&self, name: &str) -> i64 {
        let due = self.renewal(name).await;
        self.failures.get(name).map_or(due, |failures| due.max(failures.until))
    }

    /// The same by its certificate alone.
    async fn renewal(&self, name: &str) -> i64 {
        self.kept.validity(name).await.map_or(i64::MIN, |validity| due::renewal(name, validity))
    }

    async fn renew(&mut self, name: &str, renewed: impl Fn(&Path)) {
        match self.order(name).await {
            Ok(file) => {
                tracing::info!(name, "there is a new certificate");
                renewed(&file);
                let (due, now) = (self.renewal(name).await, self.clock.unix_millis());
                if due > now {
                    self.failures.remove(name);
                    return;
                }
                // The clock is wrong, or the authority's. Else there would be an order each second.
                let wait = self.failures.entry(name.to_owned()).or_default().count(now);
                tracing::error!(name, again_in_secs = wait.as_secs(), "by the clock it is due again already");
            }
            Err(error) => {
                let failures = self.failures.entry(name.to_owned()).or_default();
                let wait = failures.count(self.clock.unix_millis());
                tracing::error!(name, again_in_secs = wait.as_secs(), "there is no new certificate: {error}");
            }
        }
    }

    async fn order(&self, name: &str) -> Result<PathBuf, Error> {
        let certificate = self.authority.order(name, &self.kept).await?;
        self.kept.put(name, certificate).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_ordered() {
        for name in
            ["example.com", "a-b.example", "localhost", "192.0.2.1", "2001:db8::1", "xn--bcher-kva.example"]
        {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "a..b",
            "*.example.com",
            "a b",
            "A.example",
            "-a.example",
            "../x",
            "a/b",
            "bücher.example",
        ] {
            assert!(!is_name(name), "{name}");
        }
        assert!(!is_name(&"a.".repeat(200)) && !is_name(&format!("{}.example", "a".repeat(64))));
    }
}
