//! From `postgres://…` to what connects.

use std::path::PathBuf;

use millrace_kit::config::Faults;

use super::raw::Secret;
use crate::store::database::{Config, Server};

/// `field` is that of the address, and `{field}_connections` how many. None: there is no address, or a fault has been noted.
pub(super) fn resolve(
    url: &Secret,
    connections: u32,
    ca_file: &str,
    field: &str,
    faults: &mut Faults,
) -> Option<Config> {
    if connections == 0 {
        faults.push(format!("{field}_connections"), "must be at least 1");
    }
    let url = url.0.as_str();
    if url.is_empty() {
        return None;
    }
    let known = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let Some(server) = url.parse::<Server>().ok().filter(|_| known) else {
        // Not what is wrong with it: that may show the password.
        faults.push(field, "is not an address such as postgres://user@host/name");
        return None;
    };
    let ca_file = (!ca_file.is_empty()).then(|| PathBuf::from(ca_file));
    Some(Config { server, connections: connections as usize, ca_file })
}
