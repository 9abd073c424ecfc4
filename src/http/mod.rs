//! The HTTP/1.1 and HTTP/2 face. The only module that knows actix: connections become our requests, our answers
//! become messages.

use std::{
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_http::{HttpService, error::DispatchError};
use actix_server::GracefulShutdownSignal;
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
    rt::net::TcpStream,
    web,
};
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

mod accept;
mod access;
mod admin;
mod admin_hosts;
mod below;
mod body;
mod connection;
pub mod cors;
mod data;
pub mod door;
mod explain;
pub mod fronts;
mod gate;
mod gather;
mod guard;
mod h2;
mod intake;
mod jobs;
mod lifecycle;
mod link;
mod openapi;
mod order;
mod origins;
mod pace;
mod pages;
mod proxy;
mod purge;
mod stream;
pub mod tls;
mod translate;
mod uploads;
mod warm;
mod way;

pub use accept::Gate;
pub use admin::Admin;
pub use admin_hosts::AdminHosts;
pub use data::Data;
pub use door::Door;
pub use lifecycle::{Lifecycle, Phase};
pub use pace::Least;
pub use pages::Pages;

use accept::Accepted;
use connection::Connection;

/// A client has so long to close its side, and to hear of a refusal while it sends.
const CLOSING: Duration = Duration::from_secs(5);

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

/// The data port, and the one with TLS if there is one: everything is an asset. Put together from what [`HttpServer`] is made of,
/// as that has no room for a [`Connection`](connection::Connection) of ours, and without an [`App`], since there is nothing to route.
pub fn listen_data(
    listener: TcpListener,
    secure: Option<(TcpListener, ServerConfig)>,
    config: &Config,
    gate: Gate,
    data: Arc<Data>,
) -> std::io::Result<Listening> {
    let address = listener.local_addr()?;
    let builder = Server::build()
        .workers(config.workers)
        .max_concurrent_connections(config.max_connections.div_ceil(config.workers.max(1)))
        .shutdown_timeout(config.drain_timeout.as_secs())
        .backlog(2048)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let face = Face { config: config.clone(), gate, data, stopping, address, tls: None };
    let mut builder = builder.listen("data", listener, {
        let face = face.clone();
        move || face.service()
    })?;
    if let Some((listener, tls)) = secure {
        let (address, tls) = (listener.local_addr()?, Some(TlsAcceptor::from(Arc::new(tls))));
        let face = Face { address, tls, ..face };
        builder = builder.listen("tls", listener, move || face.service())?;
    }
    let server = builder.run();
    Ok(Listening { address, handle: server.handle(), server })
}

/// What a port for clients is made of, on each worker anew.
#[derive(Clone)]
struct Face {
    config: Config,
    gate: Gate,
    data: Arc<Data>,
    stopping: GracefulShutdownSignal,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Face {
    fn service(
        &self,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<>
    {
        let face = self.clone();
        fn_factory(move || {
            let face = face.clone();
            async move {
                let making = face.h1();
                let h1 = Rc::new(making.new_service(()).await?);
                Ok::<_, ()>(fn_service(move |stream: TcpStream| {
                    let (face, h1) = (face.clone(), h1.clone());
                    async move {
                        match face.gate.admit(stream, face.tls.as_ref()).await {
                            None => Ok(()),
                            Some(Accepted { connection, http2: true, .. }) => {
                                let times =
                                    h2::Times { keep_alive: face.config.keep_alive, least: face.gate.least };
                                let stopping = face.stopping.notified();
                                h2::serve(connection, face.data.clone(), times, stopping).await;
                                Ok(())
                            }
                            Some(Accepted { connection, peer, .. }) => {
                                h1.call((connection.answering(face.data.clone()), peer)).await
                            }
                        }
                    }
                }))
            }
        })
    }

    fn h1(
        &self,
    ) -> impl ServiceFactory<
        (Connection, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<> {
        let (data, expected, stopping) = (self.data.clone(), self.data.clone(), self.stopping.clone());
        HttpService::build()
            .expect(fn_service(move |message| data::expecting(message, &expected)))
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .client_request_timeout(self.config.header_timeout)
            .client_disconnect_timeout(CLOSING)
            .keep_alive(self.config.keep_alive)
            .local_addr(self.address)
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.link());
            })
            .h1(fn_service(move |message| data::handle(message, &data)))
    }
}

/// The admin port: health, metrics, figures.
pub fn listen_admin(
    listener: TcpListener,
    config: &Config,
    hosts: AdminHosts,
    admin: Arc<Admin>,
) -> std::io::Result<Listening> {
    let address = listener.local_addr()?;
    let app = move || {
        let hosts = hosts.clone();
        App::new()
            .wrap_fn(move |request, service| hosts.admit(request, service))
            .app_data(web::Data::from(admin.clone()))
            .configure(admin::routes)
    };
    let server = HttpServer::new(app)
        .workers(1)
        .tcp_nodelay(true)
        .client_request_timeout(config.header_timeout)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(Listening { address, handle: server.handle(), server })
}
