//! Which addresses a name may lead to. Whoever controls the name of an origin, or of a host that it redirects to, must not be
//! able to point us at machines that only we can reach, above all at a cloud's metadata service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a name may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Public,
    /// Also this machine and private networks, but no link-local and no metadata address.
    Local,
    Anywhere,
}

#[derive(Debug, thiserror::Error)]
#[error("{host} leads to {address}, which is not public; `allow_private` allows it")]
pub(super) struct NotPublic {
    pub(super) host: String,
    pub(super) address: IpAddr,
}

/// Names that the public DNS has no say in (RFC 6761, RFC 6762, RFC 8375, and what container platforms use).
const LOCAL: [&str; 7] =
    [".localhost", ".local", ".internal", ".home.arpa", ".lan", ".svc", ".cluster.local"];

/// Metadata and control services that are not link-local: Alibaba Cloud, Azure, AWS.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

impl Reach {
    /// `localhost` and other names without a dot are an operator's own, and so is what they lead to.
    pub(super) fn of(host: &str, allow_private: bool) -> Self {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match () {
            () if allow_private => Self::Anywhere,
            () if !host.contains('.') || LOCAL.iter().any(|suffix| host.ends_with(suffix)) => Self::Local,
            () => Self::Public,
        }
    }

    pub(super) fn admits(self, address: IpAddr) -> bool {
        let address = embedded(address);
        match self {
            Self::Anywhere => true,
            _ if METADATA.contains(&address) => false,
            Self::Local => is_public(address) || is_private(address),
            Self::Public => is_public(address),
        }
    }
}

/// The IPv4 address that an IPv6 one stands for.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b, c, d, e, f) {
        // Mapped, translated (RFC 6052), 6to4.
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        (0x2002, ..) => v4(b, c),
        _ => address,
    }
}

/// This machine, or a network of its owner's.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = matches!(v4.octets(), [100, 64..=127, ..]);
            v4.is_loopback() || v4.is_private() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

/// Nothing that the IANA registries of special addresses hold.
fn is_public(address: IpAddr) -> bool {
    if is_private(address) {
        return false;
    }
    match address {
        IpAddr::V4(v4) => !matches!(
            v4.octets(),
            [0 | 224..=255, ..]
                | [169, 254, ..]
                | [192, 0, 0 | 2, _]
                | [198, 18 | 19, ..]
                | [198, 51, 100, _]
                | [203, 0, 113, _]
        ),
        // Global unicast, without documentation.
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000 && v6.segments()[..2] != [0x2001, 0xdb8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        use Reach::{Anywhere, Local, Public};
        for (address, least) in [
            ("93.184.215.14", Public),
            ("2606:2800::1", Public),
            ("::ffff:93.184.215.14", Public),
            ("127.0.0.1", Local),
            ("10.1.2.3", Local),
            ("172.31.0.1", Local),
            ("192.168.0.1", Local),
            ("100.64.0.1", Local),
            ("::1", Local),
            ("fd12::1", Local),
            ("::ffff:10.0.0.1", Local),
            ("64:ff9b::a00:1", Local),
            ("2002:a00:1::", Local),
            ("169.254.169.254", Anywhere),
            ("::ffff:169.254.169.254", Anywhere),
            ("100.100.100.200", Anywhere),
            ("168.63.129.16", Anywhere),
            ("fd00:ec2::254", Anywhere),
            ("fe80::1", Anywhere),
            ("0.0.0.0", Anywhere),
            ("::", Anywhere),
            ("224.0.0.1", Anywhere),
            ("255.255.255.255", Anywhere),
            ("ff02::1", Anywhere),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let admitting = [Public, Local, Anywhere].into_iter().find(|reach| reach.admits(address));
            assert_eq!(admitting, Some(least), "{address}");
        }
    }

    #[test]
    fn names() {
        for (host, reach) in [
            ("media.example", Reach::Public),
            ("localhost", Reach::Local),
            ("LOCALHOST.", Reach::Local),
            ("minio", Reach::Local),
            ("minio.media.svc", Reach::Local),
            ("x.internal", Reach::Local),
            ("xinternal.example", Reach::Public),
        ] {
            assert_eq!(Reach::of(host, false), reach, "{host}");
            assert_eq!(Reach::of(host, true), Reach::Anywhere, "{host}");
        }
    }
}
