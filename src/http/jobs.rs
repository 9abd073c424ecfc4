//! `/api/v1/jobs` on the admin port: sending, listing, following, cancelling. A token for uploads is enough for work on what lies below
//! `/assets/`; whoever may do everything may name any path.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode};
use serde::Deserialize as _;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{
    admin::{Admin, problem},
    gate, translate,
    uploads::encoded,
};
use crate::{
    admission::{Denied, Grant, Scope},
    delivery::{Access, Target, split_url},
    jobs::{Error, Follower, Jobs, Listing, MAX_WORK, Order, Priority, QueueError, State, Told, Work},
    upload::AssetKey,
};

/// Below which assets are.
const ASSETS: &str = "/assets/";
/// Bytes of an idempotency key.
const MAX_KEY: usize = 255;
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// Seconds after which a job that was not taken may be sent again.
const RETRY_AFTER: &str = "30";
/// Those in between notice by it that a connection is not dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/api/v1/jobs").route(web::post().to(send)).route(web::get().to(list)));
    config.service(
        web::resource("/api/v1/jobs/{id}").route(web::get().to(get)).route(web::delete().to(cancel)),
    );
    config.route("/api/v1/jobs/{id}/events", web::get().to(events));
    config.route("/api/v1/jobs/{id}/retry", web::post().to(retry));
}

/// Who asks, and of what.
struct Asking<'a> {
    jobs: &'a Jobs,
    admin: &'a Admin,
    headers: HeaderMap,
    /// None: everybody who gets here may do everything.
    grant: Option<Grant>,
    /// Whose jobs this one sends.
    account: String,
}

type Refused = Box<HttpResponse>;

impl<'a> Asking<'a> {
    fn of(request: &HttpRequest, admin: &'a Admin) -> Result<Self, Refused> {
        let headers = translate::request_headers(request.headers());
        if request.method() != actix_web::http::Method::GET && gate::is_foreign(&headers) {
            return Err(Box::new(problem(StatusCode::FORBIDDEN, "pages from elsewhere may not send jobs")));
        }
        let grant = gate::admit(admin, &headers, Scope::Upload)?;
        let detail = "there are no jobs here, see [jobs] in the settings";
        let jobs = admin.jobs.as_ref();
        let jobs = jobs.ok_or_else(|| Box::new(problem(StatusCode::NOT_FOUND, detail)))?;
        let account = grant.as_ref().map_or_else(|| "operator".to_owned(), Grant::account);
        Ok(Self { jobs, admin, headers, grant, account })
    }

    /// Whose jobs this one sees; None: all.
    fn owner(&self) -> Option<&str> {
        self.grant.as_ref().filter(|grant| !grant.is_admin()).map(|_| &*self.account)
    }

    /// Whether this one sees a job of its owner's: only what its token might have sent.
    fn sees(&self, told: &Told) -> bool {
        self.owner().is_none()
            || Work::deserialize(&told.work).is_ok_and(|work| self.check(&work, told.priority).is_ok())
    }

    /// An error unless this one sees that job.
    async fn seen(&self, id: &str) -> Result<(), Error> {
        let told = self.jobs.get(id, self.owner()).await?;
        if self.sees(&told) { Ok(()) } else { Err(Error::NoJob) }
    }

    async fn get(&self, id: &str) -> Result<Told, Error> {
        self.seen(id).await?;
        self.jobs.get(id, self.owner()).await
    }

    async fn cancel(&self, id: &str) -> Result<Told, Error> {
        self.seen(id).await?;
        self.jobs.cancel(id, self.owner()).await
    }

    async fn retry(&self, id: &str) -> Result<Told, Error> {
        self.seen(id).await?;
        self.jobs.retry(id, self.owner()).await
    }

    async fn follow(&self, id: &str) -> Result<Follower, Error> {
        self.seen(id).await?;
        self.jobs.follow(id, self.owner()).await
    }

    /// Whether this one may have such work done.
    fn check(&self, work: &Work, priority: Priority) -> Result<(), Denied> {
        let Some(grant) = self.grant.as_ref().filter(|grant| !grant.is_admin()) else { return Ok(()) };
        // Else owners would outbid each other.
        if priority == Priority::High {
            return Err(Denied::Scope(Scope::Admin));
        }
        for source in work.sources() {
            let (host, path) = split_url(source);
            // What cannot be taken apart is refused later on.
            let Ok(target) = Target::parse(path) else { return Err(Denied::Path(Scope::Upload)) };
            if host.is_some() || !target.path().starts_with(ASSETS) {
                return Err(Denied::Path(Scope::Upload));
            }
            grant.check_path(Scope::Upload, target.path())?;
            if self.admin.delivery().access(&target, &HeaderMap::new()) != Access::Public {
                grant.check(Scope::Read, target.path())?;
            }
        }
        // What is no key is one of the faults that follow.
        let Some(Ok(key)) = work.output().map(AssetKey::parse) else { return Ok(()) };
        // In normal form, as prefixes are.
        let path = format!("{ASSETS}{}", encoded(key.as_str()));
        let target = Target::parse(&path).map_err(|_| Denied::Path(Scope::Upload))?;
        grant.check_path(Scope::Upload, target.path())
    }

    fn order(&self, priority: Priority) -> Result<Order, Refused> {
        let key = self.headers.get_all("idempotency-key").iter().collect::<Vec<_>>();
        let idempotency = match key[..] {
            [] => None,
            [one] => {
                let text = one.to_str().ok().filter(|text| (1..=MAX_KEY).contains(&text.len()));
                let detail = format!("Idempotency-Key has 1 to {MAX_KEY} characters of ASCII");
                let text = text.ok_or_else(|| Box::new(problem(StatusCode::BAD_REQUEST, &detail)))?;
                Some(format!("key {text}"))
            }
            _ => {
                return Err(Box::new(problem(StatusCode::BAD_REQUEST, "there are several Idempotency-Keys")));
            }
        };
        Ok(Order { owner: self.account.clone(), priority, idempotency })
    }
}

async fn send(request: HttpRequest, payload: web::Payload, admin: web::Data<Admin>) -> HttpResponse {
    send_now(&request, payload, &admin).await.unwrap_or_else(|refused| *refused)
}

async fn send_now(
    request: &HttpRequest,
    mut payload: web::Payload,
    admin: &Admin,
) -> Result<HttpResponse, Refused> {
    let asking = Asking::of(request, admin)?;
    let wrong = |status, detail: &str| Box::new(problem(status, detail));
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| wrong(StatusCode::BAD_REQUEST, "the body broke off"))?;
        if body.len() + chunk.len() > MAX_WORK {
            let detail = format!("a job has at most {MAX_WORK} bytes");
            return Err(wrong(StatusCode::PAYLOAD_TOO_LARGE, &detail));
        }
        body.extend_from_slice(&chunk);
    }
    let (work, priority) = parse(&body).map_err(|detail| wrong(StatusCode::BAD_REQUEST, &detail))?;
    asking.check(&work, priority).map_err(|denied| Box::new(gate::refusal_on_admin(denied)))?;
    let order = asking.order(priority)?;
    let sent = asking.jobs.send(&work, order).await.map_err(|error| Box::new(refusal(&error)))?;
    let mut answer = if sent.new { HttpResponse::Accepted() } else { HttpResponse::Ok() };
    answer.insert_header((header::LOCATION, format!("/api/v1/jobs/{}", sent.told.id)));
    Ok(answer.json(&sent.told))
}

/// The work, and `priority` beside it.
fn parse(body: &[u8]) -> Result<(Work, Priority), String> {
    let shape = "such as {\"preset\":\"trim\",\"source\":\"/assets/a.mp4\",\"output\":\"b.mp4\",\"end\":5}";
    let wrong = |error: serde_json::Error| format!("not a job {shape}: {error}");
    let mut fields: Map<String, Value> = serde_json::from_slice(body).map_err(wrong)?;
    let priority = match fields.remove("priority") {
        None => Priority::default(),
        Some(word) => serde_json::from_value(word).map_err(wrong)?,
    };
    Ok((serde_json::from_value(Value::Object(fields)).map_err(wrong)?, priority))
}

async fn list(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    list_now(&request, &admin).await.unwrap_or_else(|refused| *refused)
}

async fn list_now(request: &HttpRequest, admin: &Admin) -> Result<HttpResponse, Refused> {
    let asking = Asking::of(request, admin)?;
    let bad = |detail: &str| Box::new(problem(StatusCode::BAD_REQUEST, detail));
    let mut listing = Listing { limit: DEFAULT_LIMIT, ..Listing::default() };
    for (name, value) in form_urlencoded::parse(request.query_string().as_bytes()) {
        match &*name {
            "owner" => listing.owner = Some(value.into_owned()),
            "after" => listing.after = Some(value.into_owned()),
            "state" => {
                let known = State::ALL.map(State::as_str).join(", ");
                let state = State::parse(&value).ok_or_else(|| bad(&format!("states are {known}")))?;
                listing.state = Some(state);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                listing.limit =
                    limit.ok_or_else(|| bad(&format!("limit is a number from 1 to {MAX_LIMIT}")))?;
            }
            other => return Err(bad(&format!("{other:?} is none of owner, state, after and limit"))),
        }
    }
    if let Some(own) = asking.owner() {
        listing.owner = Some(own.to_owned());
    }
    let limit = listing.limit;
    let mut jobs = asking
        .jobs
        .list(Listing { limit: limit + 1, ..listing })
        .await
        .map_err(|error| Box::new(refusal(&error)))?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next = jobs.last().filter(|_| more).map(|job| job.id.clone());
    jobs.retain(|job| asking.sees(job));
    Ok(HttpResponse::Ok().json(serde_json::json!({ "jobs": jobs, "next": next })))
}

async fn get(request: HttpRequest, id: web::Path<String>, admin: web::Data<Admin>) -> HttpResponse {
    match Asking::of(&request, &admin) {
        Ok(asking) => told(asking.get(&id).await),
        Err(refused) => *refused,
    }
}

async fn cancel(request: HttpRequest, id: web::Path<String>, admin: web::Data<Admin>) -> HttpResponse {
    match Asking::of(&request, &admin) {
        Ok(asking) => told(asking.cancel(&id).await),
        Err(refused) => *refused,
    }
}

async fn retry(request: HttpRequest, id: web::Path<String>, admin: web::Data<Admin>) -> HttpResponse {
    match Asking::of(&request, &admin) {
        Ok(asking) => told(asking.retry(&id).await),
        Err(refused) => *refused,
    }
}

fn told(result: Result<Told, Error>) -> HttpResponse {
    match result {
        Ok(told) => HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(told),
        Err(error) => refusal(&error),
    }
}

/// Server-sent events: `job` with what `GET` of the job would say, each time that changes, until it is over.
async fn events(request: HttpRequest, id: web::Path<String>, admin: web::Data<Admin>) -> HttpResponse {
    let follower = match Asking::of(&request, &admin) {
        Ok(asking) => asking.follow(&id).await,
        Err(refused) => return *refused,
    };
    match follower {
        Ok(follower) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/event-stream"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .streaming(stream::unfold(follower, next_event)),
        Err(error) => refusal(&error),
    }
}

async fn next_event(mut follower: Follower) -> Option<(Result<Bytes, std::convert::Infallible>, Follower)> {
    let text = match tokio::time::timeout(KEEP_ALIVE, follower.next()).await {
        Err(_) => ": still there\n\n".to_owned(),
        Ok(None) => return None,
        Ok(Some(told)) => format!("event: job\ndata: {}\n\n", serde_json::to_string(&told).ok()?),
    };
    Some((Ok(text.into()), follower))
}

fn refusal(error: &Error) -> HttpResponse {
    let mut text = error.to_string();
    let status = match error {
        Error::Bad(_) | Error::Idempotency => StatusCode::UNPROCESSABLE_ENTITY,
        Error::OwnerFull => StatusCode::TOO_MANY_REQUESTS,
        Error::Full | Error::Followers => StatusCode::SERVICE_UNAVAILABLE,
        Error::NoJob => StatusCode::NOT_FOUND,
        Error::State(_) => StatusCode::CONFLICT,
        Error::Queue(error) => {
            tracing::error!("{error}");
            "the queue of jobs cannot be used".clone_into(&mut text);
            match error {
                QueueError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            }
        }
    };
    let mut answer = problem(status, &text);
    if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
        answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER));
    }
    answer
}
