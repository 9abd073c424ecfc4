//! Whose request it is: the address of a connection, or what proxies that we trust say about whom they speak for.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Entries of `X-Forwarded-For` that are looked at, from the end.
const MAX_HOPS: usize = 16;

/// Networks of those in front of us.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Their `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted: Vec<IpNet>,
    /// Their connections begin with a PROXY header. Nobody else's do.
    pub announced: Vec<IpNet>,
}

impl Proxies {
    pub fn trusts(&self, peer: IpAddr) -> bool {
        is_in(&self.trusted, peer)
    }

    pub fn announces(&self, peer: IpAddr) -> bool {
        is_in(&self.announced, peer)
    }

    /// The client of a connection from `peer`, by the lines of `X-Forwarded-For`: the last that is not a proxy of ours. What
    /// stands before that one may be made up.
    pub fn client<'l>(&self, peer: IpAddr, forwarded_for: impl Iterator<Item = &'l [u8]>) -> IpAddr {
        if self.trusted.is_empty() || !self.trusts(peer) {
            return peer;
        }
        let mut client = peer;
        let lines: Vec<_> = forwarded_for.collect();
        let entries = lines.into_iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        for entry in entries.take(MAX_HOPS) {
            let Some(address) = parse(entry) else { return client };
            client = address;
            if !self.trusts(address) {
                return client;
            }
        }
        client
    }
}

/// IPv4 addresses that are written as IPv6 are IPv4 addresses.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whom limits count as one: an IPv4 address, or the /64 that one subscriber of IPv6 has at least.
pub fn counted(address: IpAddr) -> IpAddr {
    match canonical(address) {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = canonical(address);
    networks.iter().any(|network| network.contains(&address))
}

/// Some proxies write the port as well.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let address =
        text.parse().ok().or_else(|| text.parse().ok().map(|socket: std::net::SocketAddr| socket.ip()));
    address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()).map(canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec();
        let proxies = Proxies { trusted, announced: Vec::new() };
        proxies.client(peer.parse().unwrap(), lines.iter().map(|line| line.as_bytes())).to_string()
    }

    #[test]
    fn only_proxies_of_ours_are_believed() {
        for (peer, lines, expected) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.7, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.7", "203.0.113.9 , 10.2.2.2"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9:5555, [2001:db8::1]:80"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["10.1.1.1, 10.1.1.2"], "10.1.1.1"),
            ("10.0.0.1", &["203.0.113.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn subscribers_of_ipv6_count_as_one() {
        let counted = |text: &str| counted(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
