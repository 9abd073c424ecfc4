//! The long way of a request, whichever version of HTTP it came by: what it says, limits of its client, a place, who may get it,
//! and then delivery.

use std::{pin::pin, sync::Arc};

use actix_http::header::HeaderValue as ActixValue;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tracing::Instrument;

use super::{
    access,
    connection::Before,
    data::{Data, fixed},
    fronts::Front,
    guard,
    link::Client,
    purge, translate,
    uploads::{self, Ask},
};
use crate::{
    admission::{Signature, load::Place},
    delivery::{
        Answer, BadTarget, Body, Fields, Interims, Outcome, Reason, Request, RequestBody, Response, Route,
        Served, Target,
    },
};

/// A request on the long way.
pub struct Asking {
    pub method: Method,
    /// Path and query, without the signature.
    pub raw: String,
    /// With it, if it is another.
    pub whole: Option<String>,
    pub signature: Option<Signature>,
    pub headers: HeaderMap,
    /// What is in memory has been looked for.
    pub looked: bool,
    pub client: Client,
}

/// The place that the request has taken is to be kept until its answer is over.
pub type Placed = (Answer, Option<Place>);

pub async fn answer(
    data: &Arc<Data>,
    asking: Asking,
    body: impl FnOnce() -> Option<RequestBody>,
    before: Option<&Before>,
    id: &ActixValue,
) -> Placed {
    let Asking { method, raw, headers, client, .. } = &asking;
    if let Some((status, detail)) = translate::fault(headers) {
        return (refuse(status, detail), None);
    }
    if data.cdn_loop.closes(headers) {
        return (refuse(StatusCode::LOOP_DETECTED, "this request has been here before"), None);
    }
    let target = match Target::parse(raw) {
        Ok(target) => target,
        Err(bad @ BadTarget::TooLong) => return (refuse(StatusCode::URI_TOO_LONG, &bad.to_string()), None),
        Err(bad) => return (refuse(StatusCode::BAD_REQUEST, &bad.to_string()), None),
    };
    if let Some(text) = data.challenges.at(target.path()) {
        return (whatever(proof(text)), None);
    }
    let whole = asking.whole.as_ref().unwrap_or(raw);
    if let Some(redirect) = data.door.redirect(client, headers, &target, whole) {
        return (whatever(redirect), None);
    }
    // Uploads have rules of their own for pages of other sites.
    let uploads = uploads::concerns(data, method, &target);
    let front = data.door.front(&data.delivery, &target, headers);
    let front = front.as_deref();
    let rules = front.filter(|_| !uploads);
    let origin = rules.and_then(|_| headers.get(header::ORIGIN).cloned());
    let (mut answer, place) = match rules.and_then(|rules| rules.preflight(method, headers)) {
        Some(preflight) => (whatever(preflight), None),
        None => admitted(data, asking, target, front, body, before, id).await,
    };
    if let Some(rules) = rules {
        rules.open(&mut answer.response, origin.as_ref().map(HeaderValue::as_bytes));
    }
    (answer, place)
}

/// Past the limits of its client, if it is.
async fn admitted(
    data: &Arc<Data>,
    asking: Asking,
    target: Target,
    front: Option<&Front>,
    body: impl FnOnce() -> Option<RequestBody>,
    before: Option<&Before>,
    id: &ActixValue,
) -> Placed {
    let client = data.door.client(&asking.client, &asking.headers);
    if let Some(refused) = front.and_then(|front| front.refuses(&data.admission, client, &asking.headers)) {
        return (whatever(refused), None);
    }
    let guess = data.door.guess(client, asking.signature.is_some(), &asking.headers);
    if let Some(refused) = guess.as_ref().and_then(|guess| guess.refused()) {
        return (whatever(refused), None);
    }
    let answered = placed(data, asking, target, body, before, id).await;
    if let Some(guess) = guess {
        guess.heed(&answered.0.response);
    }
    answered
}

async fn placed(
    data: &Arc<Data>,
    asking: Asking,
    target: Target,
    body: impl FnOnce() -> Option<RequestBody>,
    before: Option<&Before>,
    id: &ActixValue,
) -> Placed {
    let client = Some(data.door.client(&asking.client, &asking.headers));
    let Asking { method, signature, mut headers, looked, .. } = asking;
    if method.as_str() == "PURGE" {
        return (purge::on_data(data, &headers, &target).await, None);
    }
    let place = data.door.load.enter();
    if uploads::concerns(data, &method, &target) {
        if place.is_none() {
            return (overloaded(), None);
        }
        let body = uploads::body(body());
        return (uploads::answer(data.clone(), Ask { method, target, headers, body }).await, place);
    }
    if let Some(response) = data.pages.get(&method, &target) {
        return (whatever(response), place);
    }
    let guarded = match guard::admit(data, &method, signature.as_ref(), &target, &mut headers) {
        Ok(guarded) => guarded,
        Err(response) => return (whatever(*response), place),
    };
    let full = place.is_none() || data.delivery.is_overdrawn();
    if full {
        if !matches!(method, Method::GET | Method::HEAD) {
            return (overloaded(), None);
        }
        // What is stored is served nevertheless.
        headers.insert(header::CACHE_CONTROL, fixed("only-if-cached"));
    }
    let asked = Request { method, target, headers: Arc::new(headers), interims: None, client };
    let mut answer = match (!looked).then(|| data.delivery.answer_at_once(&asked.asked(), u64::MAX)).flatten()
    {
        Some(answer) => answer,
        None => {
            let span = access::span(&asked.method, asked.target.path(), id);
            let answer = wait(data, asked, body(), before).instrument(span.clone()).await;
            access::conclude(&span, &answer.response.served);
            answer
        }
    };
    if full && answer.response.served.reason == Reason::OnlyIfCached {
        answer = overloaded();
    }
    if guarded {
        guard::keep_private(&mut answer.response);
    }
    (answer, place)
}

/// `before`: where this client can be told what comes before the answer: HTTP/1.0 knows nothing of that kind (RFC 9110 §15.2).
async fn wait(data: &Data, mut asked: Request, body: Option<RequestBody>, before: Option<&Before>) -> Answer {
    let Some(before) = before else { return data.delivery.answer(&asked, body).await };
    let (interims, coming) = Interims::channel();
    asked.interims = Some(interims);
    // Pinned here, lest it is held twice: once to be given away, and once by whom it is given to.
    let answer = pin!(data.delivery.answer(&asked, body));
    let answer = before.wait(coming, answer);
    if !data.delivery.is_made(&asked) {
        return answer.await;
    }
    // What is made costs more than what is fetched, and nobody else may want it.
    tokio::select! {
        answer = answer => answer,
        () = before.left() => abandoned(),
    }
}

/// For logs and metrics: there is nobody to read it.
fn abandoned() -> Answer {
    // As nginx has it.
    let status = StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT);
    let served = Served::new(Outcome::Error, Reason::ClientLeft);
    Answer { route: Route::Image, response: Response::problem(status, "the client has left", served) }
}

pub fn refuse(status: StatusCode, detail: &str) -> Answer {
    let served = Served::new(Outcome::Error, Reason::BadRequest);
    whatever(Response::problem(status, detail, served))
}

/// All places are taken, or all memory, and nothing is stored that would do.
fn overloaded() -> Answer {
    let served = Served::new(Outcome::Error, Reason::Overloaded);
    let detail = "this server has as many requests as it takes at a time";
    whatever(
        Response::problem(StatusCode::SERVICE_UNAVAILABLE, detail, served)
            .with(header::RETRY_AFTER, fixed("1")),
    )
}

/// What an authority is to find before it gives a certificate.
fn proof(text: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, fixed("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, fixed("no-store"));
    let served = Served::new(Outcome::Hit, Reason::Fresh);
    Response::new(StatusCode::OK, Fields::Own(headers), Body::Full(text.into()), served)
}

/// An answer that no asset has to do with.
fn whatever(response: Response) -> Answer {
    Answer { route: Route::Asset, response }
}
