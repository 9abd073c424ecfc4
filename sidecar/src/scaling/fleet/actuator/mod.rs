//! Who runs instances. All say the same in the same words ([`Actuator`]), and pass one suite of tests (`tests/it/fleet`).
//!
//! Some run each instance by a name that the conductor gives it; others are only told how many there shall be, and name
//! them themselves ([`Listing::desired`]). Each call may be repeated: it changes nothing the second time.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use thiserror::Error;

use super::Error as FleetError;

mod docker;
mod kubernetes;
mod process;
mod webhook;

pub use docker::{Config as DockerConfig, Docker};
pub use kubernetes::{Config as KubernetesConfig, Kubernetes};
pub use process::{Config as ProcessConfig, Processes};
pub use webhook::{Config as WebhookConfig, Webhook};

/// Of what an instance said last.
const LAST_LINES: usize = 20;
const LAST_BYTES: usize = 4 << 10;

#[derive(Debug, Clone, PartialEq)]
pub enum Settings {
    Process(process::Settings),
    Docker(docker::Settings),
    Kubernetes(kubernetes::Settings),
    Webhook(webhook::Settings),
}

/// What runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub instances: BTreeMap<String, Running>,
    /// How many there shall be, of one that names instances itself.
    pub desired: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Base URLs, without a slash at the end; empty while not known.
    pub data_url: String,
    pub admin_url: String,
    pub alive: bool,
    /// It has been told to stop, by us or by others.
    pub leaving: bool,
    /// How it ended and what it said last; of one that lives, what keeps it from being ready.
    pub words: String,
}

/// Longest name of an instance.
const MAX_NAME: usize = 63;

impl Listing {
    /// Without those that could not become part of a balancer's configuration; and what is wrong with them.
    pub(super) fn checked(self) -> (Self, Vec<String>) {
        let mut odd = Vec::new();
        let mut instances = BTreeMap::new();
        for (name, mut running) in self.instances {
            let data_url = base(&running.data_url);
            let admin_url = base(&running.admin_url);
            match (is_plain(&name, MAX_NAME), data_url, admin_url) {
                (true, Some(data_url), Some(admin_url)) => {
                    (running.data_url, running.admin_url) = (data_url, admin_url);
                    instances.insert(name, running);
                }
                (plain, ..) => {
                    let name: String = name.chars().take(MAX_NAME).collect();
                    let what = if plain { "a URL that is not http://host:port" } else { "an odd name" };
                    odd.push(format!("instance {name:?} is left out: it has {what}"));
                }
            }
        }
        (Self { instances, desired: self.desired }, odd)
    }
}

fn is_plain(name: &str, longest: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=longest).contains(&name.len()) && name.bytes().all(plain)
}

/// Scheme, host and port, and nothing else; an empty one stays empty.
fn base(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    let url = url::Url::parse(text).ok()?;
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.path() == "/";
    if !bare || !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let host = match url.host()? {
        url::Host::Domain(name) => is_plain(name, 253).then(|| name.to_owned())?,
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => format!("[{address}]"),
    };
    Some(format!("{}://{host}:{}", url.scheme(), url.port_or_known_default()?))
}

/// How an instance ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It may finish what it is doing.
    Ask,
    Kill,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Error(pub String);

pub type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// Every future ends within seconds.
pub trait Actuator: Send + Sync {
    /// All that run, and those named ones that have ended and are not cleared.
    fn list(&self) -> Answer<'_, Listing>;

    /// Makes `name` run; of one that names instances itself: makes `total` run.
    fn start(&self, name: &str, total: u32) -> Answer<'_, ()>;

    /// Ends `name`; one that names instances itself shall then run `total`, and may take `name` for a wish. That there is none
    /// is no error.
    fn stop(&self, name: &str, how: Stop, total: u32) -> Answer<'_, ()>;

    /// Removes what is left of `name`, which has ended: its container, its cache.
    fn clear(&self, name: &str) -> Answer<'_, ()>;

    /// Whether an instance of this name could be started.
    fn vacant(&self, _name: &str) -> bool {
        true
    }
}

pub(super) fn build(group: &str, settings: &Settings) -> Result<Box<dyn Actuator>, FleetError> {
    Ok(match settings {
        Settings::Process(settings) => Box::new(Processes::new(group, settings)),
        Settings::Docker(settings) => Box::new(Docker::new(group, settings)),
        Settings::Kubernetes(settings) => Box::new(Kubernetes::new(settings)?),
        Settings::Webhook(settings) => Box::new(Webhook::new(group, settings)?),
    })
}

/// `edge-3` is the third of the group `edge`.
fn number_of(group: &str, name: &str) -> Option<u16> {
    let digits = name.strip_prefix(group)?.strip_prefix('-')?;
    let number: u16 =
        digits.parse().ok().filter(|number| (1..=super::MAX_INSTANCES).contains(&u32::from(*number)))?;
    (digits == number.to_string()).then_some(number)
}

/// Puts values for what stands in braces.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_bear_numbers() {
        for (name, number) in [
            ("edge-1", Some(1)),
            ("edge-12", Some(12)),
            ("edge-0", None),
            ("edge-01", None),
            ("edge-x", None),
            ("edge-257", None),
            ("edge", None),
            ("edges-1", None),
            ("edge-1-2", None),
            ("../edge-1", None),
        ] {
            assert_eq!(number_of("edge", name), number, "{name}");
        }
    }

    #[test]
    fn urls_are_host_and_port() {
        for (text, known) in [
            ("", Some("")),
            ("http://10.0.0.1:81/", Some("http://10.0.0.1:81")),
            ("http://[fd00::1]:81", Some("http://[fd00::1]:81")),
            ("https://edge", Some("https://edge:443")),
            ("http://edge;x:81", None),
            ("http://edge:81/x", None),
            ("http://edge:81/?x", None),
            ("http://me@edge:81", None),
            ("ftp://edge:81", None),
            ("edge:81", None),
        ] {
            assert_eq!(base(text).as_deref(), known, "{text}");
        }
    }

    #[test]
    fn odd_instances_are_left_out() {
        let names = ["edge-1", "edge 2", "edge;3", ""].map(|name| (name.to_owned(), Running::default()));
        let listing = Listing { instances: names.into(), desired: Some(4) };
        let (listing, odd) = listing.checked();
        assert_eq!((listing.instances.len(), odd.len(), listing.desired), (1, 3, Some(4)));
    }

    #[test]
    fn the_end_of_what_was_said() {
        let text = (1..=30).map(|line| format!("line {line}\n\n")).collect::<String>();
        let last = last_lines(&text);
        assert!(last.starts_with("line 11\n") && last.ends_with("\nline 30"), "{last}");
        assert_eq!(last_lines(""), "");
    }
}
