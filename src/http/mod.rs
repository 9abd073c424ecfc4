//! The HTTP/1.1 and HTTP/2 face. The only module that knows actix: connections become our requests, our answers
//! become messages.

use std::{net::SocketAddr, net::TcpListener, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, dev::ServerHandle, web};

mod access;
mod admin;
mod body;
mod data;
mod explain;
mod pages;
mod purge;
mod token;
mod translate;

pub use admin::{Admin, Phase};
pub use data::Data;
pub use pages::Pages;
pub use token::Token;

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
    server: actix_web::dev::Server,
}

impl Listening {
    /// Serves until stopped through the handle.
    pub async fn serve(self) -> std::io::Result<()> {
        self.server.await
    }
}

/// The data port: everything is an asset.
pub fn listen_data(listener: TcpListener, config: &Config, data: Arc<Data>) -> std::io::Result<Listening> {
    let address = listener.local_addr()?;
    let server = HttpServer::new(move || {
        App::new().app_data(web::Data::from(data.clone())).default_service(web::to(data::handle))
    })
    .workers(config.workers)
    .max_connections(config.max_connections.div_ceil(config.workers.max(1)))
    .client_request_timeout(config.header_timeout)
    .keep_alive(config.keep_alive)
    // Else the last segment of an answer may wait for the client's delayed acknowledgement, 40 ms.
    .tcp_nodelay(true)
    .shutdown_timeout(config.drain_timeout.as_secs())
    .backlog(2048)
    .disable_signals()
    .listen(listener)?
    .run();
    Ok(Listening { address, handle: server.handle(), server })
}

/// The admin port: health, metrics, figures.
pub fn listen_admin(listener: TcpListener, config: &Config, admin: Arc<Admin>) -> std::io::Result<Listening> {
    let address = listener.local_addr()?;
    let server =
        HttpServer::new(move || App::new().app_data(web::Data::from(admin.clone())).configure(admin::routes))
            .workers(1)
            .client_request_timeout(config.header_timeout)
            .shutdown_timeout(1)
            .disable_signals()
            .listen(listener)?
            .run();
    Ok(Listening { address, handle: server.handle(), server })
}
