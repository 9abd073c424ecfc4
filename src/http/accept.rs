//! From an accepted socket to a connection that speaks HTTP: who it is, whether it may come in, and TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use actix_web::rt::net::TcpStream;
use millrace_kit::metrics::IntCounterVec;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{connection::Connection, link::Client, pace::Least, proxy, stream::Stream};
use crate::admission::{
    client::{Proxies, canonical},
    load::{Connections, Held},
};

/// What all connections have to get past.
#[derive(Clone)]
pub struct Gate {
    pub proxies: Arc<Proxies>,
    pub connections: Arc<Connections>,
    /// For all that comes before the first request.
    pub patience: Duration,
    pub least: Least,
    /// Connections that were not let in, by why.
    pub refused: IntCounterVec,
}

pub struct Accepted {
    pub connection: Connection,
    pub peer: Option<SocketAddr>,
    /// HTTP/2 was agreed on.
    pub http2: bool,
}

/// The word of the metric for each reason.
enum Refusal {
    TooMany,
    Proxy,
    Tls,
}

impl Gate {
    /// None: it was not let in, and is closed.
    pub async fn admit(&self, stream: TcpStream, tls: Option<&TlsAcceptor>) -> Option<Accepted> {
        match self.try_admit(stream, tls).await {
            Ok(accepted) => accepted,
            Err((refusal, error)) => {
                let word = match refusal {
                    Refusal::TooMany => "too-many",
                    Refusal::Proxy => "proxy-header",
                    Refusal::Tls => "tls",
                };
                tracing::debug!(reason = word, "a connection was not let in: {error}");
                self.refused.with_label_values(&[word]).inc();
                None
            }
        }
    }

    async fn try_admit(
        &self,
        mut stream: TcpStream,
        tls: Option<&TlsAcceptor>,
    ) -> Result<Option<Accepted>, (Refusal, io::Error)> {
        // Else the last segment of an answer may wait for the client's delayed acknowledgement, 40 ms.
        let _ = stream.set_nodelay(true);
        // It may be gone already.
        let Ok(peer) = stream.peer_addr() else { return Ok(None) };
        let mut address = canonical(peer.ip());
        if self.proxies.announces(address) {
            let announced = self.within(proxy::read(&mut stream)).await;
            let announced = announced.map_err(|error| (Refusal::Proxy, error))?;
            address = announced.map_or(address, canonical);
        }
        let held = self.held(address)?;
        let (stream, http2) = match tls {
            None => (Stream::Plain(stream), false),
            Some(acceptor) => {
                let agreed = self.within(acceptor.accept(stream)).await;
                let stream = agreed.map_err(|error| (Refusal::Tls, error))?;
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                (Stream::Tls(Box::new(stream)), http2)
            }
        };
        let client = Client { address, secure: tls.is_some() };
        let connection = Connection::new(stream, client, self.least, held);
        Ok(Some(Accepted { connection, peer: Some(SocketAddr::new(address, peer.port())), http2 }))
    }

    /// Proxies that speak for many are not counted.
    fn held(&self, address: IpAddr) -> Result<Held, (Refusal, io::Error)> {
        if self.proxies.trusts(address) {
            return Ok(Held::uncounted());
        }
        self.connections
            .enter(address)
            .ok_or_else(|| (Refusal::TooMany, io::Error::other("this client has too many")))
    }

    async fn within<T>(&self, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        timeout(self.patience, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
