//! Who may change something: this machine, and who knows the token. No page of another site, whatever browser it runs in.

use actix_web::{HttpRequest, http::header};

use super::State;

pub(super) fn may_change(state: &State, request: &HttpRequest) -> Result<(), &'static str> {
    let field = |name: &str| request.headers().get(name).map(|value| value.as_bytes().to_vec());
    // Browsers send it with every request; others need not be kept out.
    if matches!(field("sec-fetch-site").as_deref(), Some(b"cross-site" | b"same-site")) {
        return Err("pages of other sites change nothing here");
    }
    let here = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let given = field(header::AUTHORIZATION.as_str());
    if here || given.is_some_and(|given| state.token.admits(&given)) {
        return Ok(());
    }
    Err(
        "changes come from this machine, or with `Authorization: Bearer` and the `http.token` of the sidecar's settings",
    )
}
