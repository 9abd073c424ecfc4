//! The HTTP/1.1 and HTTP/2 face. The only module that knows actix: connections become our requests, our answers
//! become messages.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_http::HttpService;
use actix_service::{ServiceFactoryExt, fn_service};
use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
    rt::net::TcpStream,
    web,
};

mod access;
mod admin;
mod body;
mod connection;
mod data;
mod explain;
mod gate;
mod guard;
mod lifecycle;
mod origins;
mod pages;
mod purge;
mod translate;
mod uploads;
mod warm;

pub use admin::Admin;
pub use data::Data;
pub use lifecycle::{Lifecycle, Phase};
pub use pages::Pages;

use connection::Connection;

/// A client has so long to close its side.
const CLOSING: Duration = Duration::from_secs(1);

/// Bounds of the listeners.
#[derive(Debug, Clone)]
pub struct Config {
    /// Threads that serve the data port.
    pub workers: usize,
    pub max_connections: usize,
    pub header_timeout: Duration,
    pub keep_alive: Duration,
    pub drain_timeout: Duration,
}

/// A listening server, not yet awaited.
pub struct Listening {
    pub address: SocketAddr,
    pub handle: ServerHandle,
    server: Server,
}

impl Listening {
    /// Serves until stopped through the handle.
    pub async fn serve(self) -> std::io::Result<()> {
        self.server.await
    }
}

/// The data port: everything is an asset. Put together from what [`HttpServer`] is made of, as that has no room for a
/// [`Connection`] of ours, and without an [`App`], since there is nothing to route.
pub fn listen_data(listener: TcpListener, config: &Config, data: Arc<Data>) -> std::io::Result<Listening> {
    let address = listener.local_addr()?;
    let builder = Server::build()
        .workers(config.workers)
        .max_concurrent_connections(config.max_connections.div_ceil(config.workers.max(1)))
        .shutdown_timeout(config.drain_timeout.as_secs())
        .backlog(2048)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let (header_timeout, keep_alive) = (config.header_timeout, config.keep_alive);
    let server = builder.listen("data", listener, move || {
        let data = data.clone();
        let stopping = stopping.clone();
        let service = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .client_request_timeout(header_timeout)
            .client_disconnect_timeout(CLOSING)
            .keep_alive(keep_alive)
            .local_addr(address)
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.before());
                data.insert(connection.behind());
            })
            .h1(fn_service(move |message| data::handle(message, &data)));
        fn_service(|stream: TcpStream| async {
            // Else the last segment of an answer may wait for the client's delayed acknowledgement, 40 ms.
            let _ = stream.set_nodelay(true);
            let peer = stream.peer_addr().ok();
            Ok((Connection::new(stream), peer))
        })
        .and_then(service)
    })?;
    let server = server.run();
    Ok(Listening { address, handle: server.handle(), server })
}

/// The admin port: health, metrics, figures.
pub fn listen_admin(listener: TcpListener, config: &Config, admin: Arc<Admin>) -> std::io::Result<Listening> {
    let address = listener.local_addr()?;
    let server =
        HttpServer::new(move || App::new().app_data(web::Data::from(admin.clone())).configure(admin::routes))
            .workers(1)
            .tcp_nodelay(true)
            .client_request_timeout(config.header_timeout)
            .shutdown_timeout(1)
            .disable_signals()
            .listen(listener)?
            .run();
    Ok(Listening { address, handle: server.handle(), server })
}
