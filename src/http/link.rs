//! What the handler of a request has to know of its connection.

use std::net::{IpAddr, Ipv4Addr};

use super::connection::{Before, Behind};

/// Who is on the other side, as far as the connection says.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub address: IpAddr,
    /// By TLS.
    pub secure: bool,
}

/// The handle that requests have.
#[derive(Clone)]
pub struct Link {
    pub client: Client,
    pub before: Before,
    /// None where bodies go another way.
    pub behind: Option<Behind>,
}

impl Link {
    /// Of whom nothing is known, which is nobody.
    pub fn unknown() -> Self {
        let client = Client { address: Ipv4Addr::UNSPECIFIED.into(), secure: false };
        Self { client, before: Before::default(), behind: None }
    }
}
