//! Who may see and who may change something. Changes are for this machine, and for who knows the token. No page of another
//! site sees or changes anything, whatever browser it runs in, and whatever name leads it here.

use std::net::IpAddr;

use actix_web::{
    Error, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};

use super::State;

/// Refuses what a browser of this machine asks for under a name that is not ours: a page could have made it lead here to read
/// what only this machine may (DNS rebinding). Health tells nothing that is worth it.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = request.app_data::<web::Data<State>>();
    let refused = state.is_some_and(|state| !is_for_us(state, request.request()));
    if refused && !request.path().starts_with("/health") {
        let body = serde_json::json!({
            "status": 421,
            "title": "Misdirected Request",
            "detail": "this name is not known here: ask for an address or localhost, or list the name in `http.hosts` of the sidecar's settings",
        });
        let answer = HttpResponse::MisdirectedRequest();
        let answer = { answer }.content_type("application/problem+json").body(body.to_string());
        return Ok(request.into_response(answer));
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

fn is_for_us(state: &State, request: &HttpRequest) -> bool {
    let field = |name: header::HeaderName| request.headers().get(name).map(|value| value.as_bytes());
    let Some(host) = field(header::HOST) else { return true };
    // Not as in `is_local`: a page can say that its request was passed on.
    let from_here = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    !from_here
        || std::str::from_utf8(host).is_ok_and(|host| is_ours(state, host))
        || field(header::AUTHORIZATION).is_some_and(|given| state.token.admits(given))
}

pub(super) fn may_change(state: &State, request: &HttpRequest) -> Result<(), &'static str> {
    let field = |name: &str| request.headers().get(name).map(|value| value.as_bytes());
    // Browsers send it with every request; others need not be kept out.
    if matches!(field("sec-fetch-site"), Some(b"cross-site" | b"same-site")) {
        return Err("pages of other sites change nothing here");
    }
    if field(header::AUTHORIZATION.as_str()).is_some_and(|given| state.token.admits(given)) {
        return Ok(());
    }
    if !is_local(request) {
        return Err(
            "changes come from this machine, or with `Authorization: Bearer` and the `http.token` of the sidecar's settings",
        );
    }
    let host = field(header::HOST.as_str()).map_or(Ok("localhost"), std::str::from_utf8).unwrap_or_default();
    if !is_ours(state, host) {
        return Err(
            "changes without the token are for an address, localhost or a name in `http.hosts`, not for other names",
        );
    }
    if field(header::ORIGIN.as_str()).is_some_and(|origin| !is_of(origin, host)) {
        return Err("pages of other sites change nothing here");
    }
    Ok(())
}

/// From this machine, and for nobody else.
pub(super) fn is_local(request: &HttpRequest) -> bool {
    let passed_on = ["forwarded", "x-forwarded-for"].iter().any(|name| request.headers().contains_key(*name));
    !passed_on && request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

fn is_ours(state: &State, host: &str) -> bool {
    let name = name(host);
    is_here(&name) || state.hosts.contains(&name)
}

/// Of a field `Host`, without the port.
fn name(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// No name leads to an address that is written as one, and `localhost` leads to this machine.
fn is_here(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

fn is_of(origin: &[u8], host: &str) -> bool {
    let origin = std::str::from_utf8(origin).ok();
    let authority = origin.and_then(|origin| origin.split_once("://"));
    authority.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_anywhere_are_not_here() {
        for (host, here) in [
            ("localhost:8090", true),
            ("LOCALHOST.", true),
            ("a.localhost:1", true),
            ("127.0.0.1:8090", true),
            ("[::1]:8090", true),
            ("evil.example:8090", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_here(&name(host)), here, "{host}");
        }
    }

    #[test]
    fn pages_are_of_where_they_came_from() {
        assert!(is_of(b"http://localhost:8090", "localhost:8090"));
        assert!(!is_of(b"http://localhost:9000", "localhost:8090"));
        assert!(!is_of(b"null", "localhost:8090"));
    }
}
