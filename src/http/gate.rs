//! How those are answered who may not: statuses and challenges (RFC 6750 §3).

use actix_web::HttpResponse;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::admin::{Admin, problem};
use crate::{
    admission::{Denied, Grant, Scope},
    delivery::{Outcome, Reason, Response, Served},
};

/// On the data port.
pub fn refusal(denied: Denied) -> Box<Response> {
    let served = Served::new(Outcome::Error, Reason::NotAllowed);
    let response = Response::problem(status(denied), &denied.to_string(), served);
    Box::new(match challenge(denied) {
        Some(challenge) => response.with(header::WWW_AUTHENTICATE, challenge),
        None => response,
    })
}

/// On the admin port, which asks for a token only where others can reach it. What is for [`Scope::Admin`] is not below any path:
/// a token that holds only below one does not do for it.
pub fn admit(admin: &Admin, headers: &HeaderMap, scope: Scope) -> Result<Option<Grant>, Box<HttpResponse>> {
    let Some(admission) = &admin.admission else { return Ok(None) };
    let admitted = admission.identify(headers).and_then(|grant| {
        grant.check_scope(scope)?;
        match scope == Scope::Admin && !grant.is_admin() {
            true => Err(Denied::Path(scope)),
            false => Ok(grant),
        }
    });
    admitted.map(Some).map_err(|denied| Box::new(refusal_on_admin(denied)))
}

pub fn refusal_on_admin(denied: Denied) -> HttpResponse {
    let mut answer = problem(status(denied), &denied.to_string());
    let challenge = challenge(denied).and_then(|text| text.try_into().ok());
    if let Some(challenge) = challenge {
        answer.headers_mut().insert(actix_web::http::header::WWW_AUTHENTICATE, challenge);
    }
    answer
}

fn status(denied: Denied) -> StatusCode {
    match denied {
        Denied::Missing | Denied::Invalid => StatusCode::UNAUTHORIZED,
        Denied::Closed | Denied::Scope(_) | Denied::Path(_) | Denied::Signature => StatusCode::FORBIDDEN,
    }
}

/// None where no token would help.
fn challenge(denied: Denied) -> Option<String> {
    let realm = "Bearer realm=\"millrace\"";
    match denied {
        Denied::Closed | Denied::Signature => None,
        Denied::Missing => Some(realm.to_owned()),
        Denied::Invalid => Some(format!("{realm}, error=\"invalid_token\"")),
        Denied::Scope(scope) | Denied::Path(scope) => {
            Some(format!("{realm}, error=\"insufficient_scope\", scope=\"{}\"", scope.as_str()))
        }
    }
}

/// Whether a browser sent it for a page of another site.
pub fn is_foreign(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
    headers.get(header::ORIGIN).is_some_and(|origin| {
        let origin = origin.as_bytes();
        let origin = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        origin != Some(host)
    })
}
