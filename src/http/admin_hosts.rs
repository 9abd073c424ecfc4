//! For whom the admin port takes itself. On a loopback address it asks for no token; a page of some site could reach it
//! through a name that leads there (DNS rebinding), and is told by that name. Elsewhere, tokens cannot be guessed at will.

use std::{net::IpAddr, sync::Arc};

use actix_web::{
    Error,
    body::{BoxBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse},
};
use futures_util::future::LocalBoxFuture;
use http::StatusCode;

use super::admin::problem;
use crate::admission::rate::{Asker, Limiter};

#[derive(Clone)]
pub struct AdminHosts {
    /// Names that count beside `localhost` and addresses; None: all.
    pub names: Option<Arc<[String]>>,
    pub failures: Option<Arc<dyn Limiter>>,
}

impl AdminHosts {
    pub fn admit<S, B>(
        &self,
        request: ServiceRequest,
        service: &S,
    ) -> LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
        S::Future: 'static,
        B: MessageBody + 'static,
    {
        let known = self.names.as_ref().is_none_or(|names| is_known(host_of(&request), names));
        if !known {
            let refusal = problem(
                StatusCode::MISDIRECTED_REQUEST,
                "this port is not known by that name: see admin.hosts",
            );
            return Box::pin(std::future::ready(Ok(request.into_response(refusal))));
        }
        let credentials = request.headers().contains_key(actix_web::http::header::AUTHORIZATION);
        let peer = request.peer_addr().map(|peer| Asker::at(peer.ip()));
        let guess = self.failures.clone().zip(peer).filter(|_| credentials);
        if let Some(wait) = guess.as_ref().and_then(|(failures, peer)| failures.is_exhausted(*peer)) {
            let mut refusal =
                problem(StatusCode::TOO_MANY_REQUESTS, "too many tokens of this client were bad");
            refusal.headers_mut().insert(actix_web::http::header::RETRY_AFTER, wait.seconds().into());
            return Box::pin(std::future::ready(Ok(request.into_response(refusal))));
        }
        let answer = service.call(request);
        Box::pin(async move {
            let answer = answer.await?.map_into_boxed_body();
            if let Some((failures, peer)) = guess
                && answer.status() == actix_web::http::StatusCode::UNAUTHORIZED
            {
                // It is the next one that may be refused.
                let _ = failures.admit(peer);
            }
            Ok(answer)
        })
    }
}

/// As the client says, and nobody who claims to stand between. Browsers always do.
fn host_of(request: &ServiceRequest) -> &str {
    let host = request.headers().get(actix_web::http::header::HOST);
    let host = host.map_or("localhost", |host| host.to_str().unwrap_or_default());
    request.uri().authority().map_or(host, |authority| authority.as_str())
}

/// No name leads to an address that is written as one.
fn is_known(host: &str, names: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    bare.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_anywhere_are_not_known() {
        let names = ["ops.example".to_owned()];
        for (host, known) in [
            ("localhost", true),
            ("LOCALHOST:8081", true),
            ("localhost.", true),
            ("a.localhost:1", true),
            ("127.0.0.1:8081", true),
            ("[::1]:8081", true),
            ("ops.example:8081", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_known(host, &names), known, "{host}");
        }
    }
}
