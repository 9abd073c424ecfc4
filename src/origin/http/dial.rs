//! Connects to one of the addresses that a name has: the next one gets its turn when one fails or takes long, and those that
//! failed come last for a while. So an address that is dead costs a fraction of a second, once.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::{Uri, uri::Scheme};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::names::Names;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What an address gets before the next one is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses tried for one connection.
const MOST: usize = 8;

#[derive(Clone)]
pub(super) struct Dialer {
    names: Names,
    /// For the name servers, so that it is seen whose silence it was.
    patience: Duration,
}

impl Dialer {
    /// A connection may take `connect_timeout` in all, which is seen to elsewhere.
    pub(super) fn new(names: Names, connect_timeout: Duration) -> Self {
        Self { names, patience: connect_timeout.mul_f64(0.8) }
    }

    async fn dial(&self, uri: &Uri) -> Result<TcpStream, BoxError> {
        let host = uri.host().ok_or_else(|| io::Error::other("the URL has no host"))?;
        let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        // An address in the URL is the operator's own word.
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(connect(SocketAddr::new(address, port)).await.1?);
        }
        let addresses = self.names.resolve(host, self.patience).await?;
        let (stream, shunned) = first_of(&addresses, port).await?;
        self.names.shun(host, &shunned);
        Ok(stream)
    }
}

/// The first connection that comes about, and the addresses that failed or had a head start and did not use it.
async fn first_of(addresses: &[IpAddr], port: u16) -> io::Result<(TcpStream, Vec<IpAddr>)> {
    let mut left = addresses.iter().take(MOST).map(|address| SocketAddr::new(*address, port));
    let mut tried = Vec::new();
    let mut trying = FuturesUnordered::new();
    let mut failed = Vec::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = left.next() {
            tried.push(address.ip());
            trying.push(connect(address));
        } else if trying.is_empty() {
            return Err(last);
        }
        let ended = match left.len() {
            0 => trying.next().await,
            _ => match timeout(HEAD_START, trying.next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            },
        };
        match ended {
            Some((address, Ok(stream))) => {
                tried.truncate(tried.iter().position(|other| *other == address).unwrap_or_default());
                tried.extend(failed);
                return Ok((stream, tried));
            }
            Some((address, Err(error))) => {
                // Those that failed are told of apart, wherever they stood.
                tried.retain(|other| *other != address);
                failed.push(address);
                last = error;
            }
            None => {}
        }
    }
}

async fn connect(address: SocketAddr) -> (IpAddr, io::Result<TcpStream>) {
    let connected = TcpStream::connect(address).await.and_then(|stream| {
        stream.set_nodelay(true)?;
        Ok(stream)
    });
    // Which of several addresses it was is what an operator wants to know.
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    (address.ip(), connected.map_err(named))
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        async move { dialer.dial(&uri).await.map(TokioIo::new) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_first_address_that_answers_counts() {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let (stream, shunned) = first_of(&[address(3), address(4), address(2)], port).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), address(2));
        assert_eq!(shunned, [address(3), address(4)]);
        let error = first_of(&[address(3), address(4)], port).await.unwrap_err();
        assert!(error.kind() == io::ErrorKind::ConnectionRefused && error.to_string().contains("127.0.0."));
        assert!(first_of(&[], port).await.is_err());
    }
}
