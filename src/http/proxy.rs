//! The PROXY protocol, versions 1 and 2: a balancer says for whom it speaks, before all else. Nothing beyond the header is
//! read, so that what follows is as the client sent it.

use std::{io, net::IpAddr};

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What both versions have at least.
const LEAST: usize = 12;
/// Of version 1, by its specification.
const MOST_V1: usize = 107;
/// Of version 2, behind its first 16 bytes. Addresses take up to 216; what else balancers tell is little.
const MOST_V2: usize = 2048;

/// For whom the other side speaks; None: for itself, as when it only looks whether we are there.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; LEAST];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        read_v2(stream, header).await
    } else if header.starts_with(b"PROXY ") {
        read_v1(stream, header).await
    } else {
        Err(bad("this is no PROXY header"))
    }
}

async fn read_v1(stream: &mut (impl AsyncRead + Unpin), mut header: Vec<u8>) -> io::Result<Option<IpAddr>> {
    while !header.ends_with(b"\r\n") {
        if header.len() >= MOST_V1 {
            return Err(bad("a PROXY header of version 1 without an end"));
        }
        header.push(stream.read_u8().await?);
    }
    let parsed = v1::Header::try_from(&header[..]).map_err(|wrong| bad(&wrong.to_string()))?;
    Ok(match parsed.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
    })
}

async fn read_v2(stream: &mut (impl AsyncRead + Unpin), mut header: Vec<u8>) -> io::Result<Option<IpAddr>> {
    let mut rest = [0; 4];
    stream.read_exact(&mut rest).await?;
    header.extend(rest);
    let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
    if length > MOST_V2 {
        return Err(bad("a PROXY header of version 2 that is too long"));
    }
    header.resize(header.len() + length, 0);
    let begin = header.len() - length;
    stream.read_exact(&mut header[begin..]).await?;
    let parsed = v2::Header::try_from(&header[..]).map_err(|wrong| bad(&wrong.to_string()))?;
    match (parsed.command, parsed.protocol, parsed.addresses) {
        (v2::Command::Local, ..) | (_, _, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => Ok(None),
        (_, v2::Protocol::Datagram, _) => Err(bad("a PROXY header that speaks of datagrams")),
        (_, _, v2::Addresses::IPv4(addresses)) => Ok(Some(addresses.source_address.into())),
        (_, _, v2::Addresses::IPv6(addresses)) => Ok(Some(addresses.source_address.into())),
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[version_command, family], &length, rest].concat()
    }

    /// The client, and what was left for it to say.
    async fn told(sent: &[u8]) -> Option<(Option<String>, usize)> {
        let mut left = sent;
        let client = read(&mut left).await.ok()?;
        Some((client.map(|client| client.to_string()), left.len()))
    }

    #[tokio::test]
    async fn clients_are_named_and_nothing_else_is_read() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x10, 0, 0, 80];
        let six = [[0x20; 16], [0xfd; 16]].concat().into_iter().chain([0x10, 0, 0, 80]).collect::<Vec<_>>();
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 4000 80\r\n".to_vec(), Some("192.0.2.1")),
            (b"PROXY TCP6 2001:db8::1 fd00::1 4000 80\r\n".to_vec(), Some("2001:db8::1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(0x21, 0x11, &four), Some("192.0.2.1")),
            // With something else told.
            (v2(0x21, 0x11, &[&four[..], &[0x05, 0, 2, 1, 1]].concat()), Some("192.0.2.1")),
            (v2(0x21, 0x21, &six), Some("2020:2020:2020:2020:2020:2020:2020:2020")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &four), None),
        ] {
            let sent = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(told(&sent).await, Some((expected.map(str::to_owned), 16)), "{header:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        for sent in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 4000\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.999 10.0.0.1 4000 80\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 10.0.0.1 4000 80\r\n".to_vec(),
            [&b"PROXY UNKNOWN "[..], &[b'a'; 200], b"\r\n"].concat(),
            b"PROXY UNKNOWN".to_vec(),
            v2(0x31, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x11, &[0; 5000]),
            v2(0x21, 0x11, &[0; 12])[..20].to_vec(),
        ] {
            assert_eq!(told(&sent).await, None, "{}", String::from_utf8_lossy(&sent));
        }
    }
}
