//! `GET /api/v1/assets?prefix=&tag=&after=&limit=` on the admin port: what is stored, in the order of keys.

use actix_web::{HttpRequest, HttpResponse, web};
use http::StatusCode;
use url::form_urlencoded;

use super::assets::told;
use crate::{
    admission::Scope,
    http::{
        admin::{Admin, problem},
        gate, translate,
    },
    upload::Listing,
};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

pub async fn on_admin(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    let headers = translate::request_headers(request.headers());
    let grant = match gate::admit(&admin, &headers, Scope::Read) {
        Ok(grant) => grant,
        Err(refusal) => return *refusal,
    };
    let Some(uploads) = &admin.uploads else {
        return problem(StatusCode::NOT_FOUND, "this server takes no uploads, see [uploads] in its settings");
    };
    let mut listing = Listing { limit: DEFAULT_LIMIT, ..Listing::default() };
    for (name, value) in form_urlencoded::parse(request.query_string().as_bytes()) {
        match &*name {
            "prefix" => listing.prefix = value.into_owned(),
            "after" => listing.after = value.into_owned(),
            "tag" => listing.tag = Some(value.into_owned()),
            "limit" => match value.parse() {
                Ok(limit @ 1..=MAX_LIMIT) => listing.limit = limit,
                _ => {
                    let detail = format!("limit is a number from 1 to {MAX_LIMIT}");
                    return problem(StatusCode::BAD_REQUEST, &detail);
                }
            },
            other => {
                let detail = format!("{other:?} is none of prefix, tag, after and limit");
                return problem(StatusCode::BAD_REQUEST, &detail);
            }
        }
    }
    // Keys that begin with `a` are those of `ab` too: whatever follows has to be below the token's prefix.
    let begins_so = format!("{}{}-", super::ASSETS, listing.prefix);
    if let Some(Err(denied)) = grant.map(|grant| grant.check_path(Scope::Read, &begins_so)) {
        return gate::refusal_on_admin(denied);
    }
    match uploads.list(listing).await {
        Ok(page) => {
            let assets: Vec<_> = page.assets.iter().map(told).collect();
            HttpResponse::Ok().json(serde_json::json!({ "assets": assets, "next": page.next }))
        }
        Err(error) => {
            tracing::error!("listing assets: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the catalogue cannot be read")
        }
    }
}
