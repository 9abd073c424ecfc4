//! What spreads requests over the instances. It is told who its members are, not how to get there: whatever was lost
//! in between, such as the members of a balancer that has been restarted, is put right by the same call.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use thiserror::Error;

mod haproxy;
mod nginx;

pub use haproxy::{Config as HaproxyConfig, Haproxy};
pub use nginx::{Config as NginxConfig, Nginx};

#[derive(Debug, Clone, PartialEq)]
pub enum Settings {
    None,
    Haproxy(haproxy::Settings),
    Nginx(nginx::Settings),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Gets requests.
    Serving,
    /// Gets no new ones.
    Draining,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `host:port`.
    pub address: String,
    pub duty: Duty,
}

/// A member as the balancer has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    pub duty: Duty,
    /// Requests that it has given to the member and that are not answered. None: it does not say.
    pub connections: Option<u64>,
}

pub type Members = BTreeMap<String, Member>;
pub type Seats = BTreeMap<String, Seat>;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Error(pub String);

pub type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// Every future ends within seconds.
pub trait Balancer: Send + Sync {
    /// The members that are ours.
    fn seats(&self) -> Answer<'_, Seats>;

    /// Makes these the members. Who is not among them gets nothing any more, whatever it is doing.
    fn seat(&self, members: &Members) -> Answer<'_, ()>;
}

/// None: instances are found by others.
pub(super) fn build(group: &str, settings: &Settings) -> Option<Box<dyn Balancer>> {
    match settings {
        Settings::None => None,
        Settings::Haproxy(settings) => Some(Box::new(Haproxy::new(group, settings))),
        Settings::Nginx(settings) => Some(Box::new(Nginx::new(settings))),
    }
}
