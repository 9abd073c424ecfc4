//! Serving what a route has for the last resort: the origins have failed, and nothing stored may stand in.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{
    outcome::{Outcome, Reason, Served},
    pipeline::Delivery,
    policy::{self, FallbackContent},
    request::{Request, Target},
    resolve::Resolved,
    respond::respond,
    response::{Body, Fields, Response},
    route::Plan,
};

/// Whether an answer says that the origins have failed.
fn is_failure(response: &Response) -> bool {
    let Served { outcome, reason, .. } = response.served;
    let asked = match reason {
        Reason::Origin(_) | Reason::Overloaded => outcome == Outcome::Error,
        // What an origin says of itself; what it lets us store is an answer like any other.
        _ => outcome == Outcome::Bypass,
    };
    asked && response.status.is_server_error()
}

impl Delivery {
    /// The answer, or what the route has in its place.
    pub(super) async fn or_fallback(&self, request: &Request, plan: &Plan<'_>, answer: Response) -> Response {
        let Some(fallback) = plan.policy.rules.fallback.as_deref().filter(|_| is_failure(&answer)) else {
            return answer;
        };
        let Served { reason, forward_status, .. } = answer.served;
        let served = Served { forward_status, ..Served::new(Outcome::Fallback, reason) };
        let stand_in = match &fallback.content {
            FallbackContent::File { bytes, content_type } => {
                let mut fields = HeaderMap::new();
                fields.insert(header::CONTENT_TYPE, content_type.clone());
                let mut response =
                    Response::new(fallback.status, Fields::Own(fields), Body::Full(bytes.clone()), served);
                if request.method == Method::HEAD {
                    (response.head_length, response.body) = (Some(bytes.len() as u64), Body::Empty);
                }
                Some(response)
            }
            FallbackContent::Path(target) => self.found_elsewhere(request, target, served).await,
        };
        match stand_in {
            Some(response) => {
                tracing::debug!(route = &*plan.policy.name, "the fallback stands in");
                let response = Response { status: fallback.status, served, ..response };
                response.with(header::CACHE_CONTROL, fallback.cache_control.clone())
            }
            None => answer,
        }
    }

    /// Whole, whatever part the request wanted: it is not what the request wanted.
    async fn found_elsewhere(&self, request: &Request, target: &Target, served: Served) -> Option<Response> {
        let host = policy::host_of(&*request.headers);
        let mut headers = HeaderMap::new();
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(header::HOST, host);
        }
        let asked = Request {
            method: request.method.clone(),
            target: target.clone(),
            headers: Arc::new(headers),
            interims: None,
            client: None,
        };
        let routing = self.core.router.now();
        let plan = Plan::of(target, host, &routing.policies).ok()?;
        let query = self.query(&asked, &plan);
        match self.core.resolve(&query).await {
            Resolved::Object { available, hold, .. } if available.object.head.status == StatusCode::OK => {
                let now = self.core.clock().unix_millis();
                let response = respond(&self.core.fills, &asked, available, served, now).await.ok();
                drop(hold);
                response
            }
            _ => None,
        }
    }
}
