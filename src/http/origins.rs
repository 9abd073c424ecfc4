//! The condition of the origins, on the admin port.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{admin::Admin, gate, translate};
use crate::admission::Scope;

/// `GET /api/v1/origins`: health, breaker, recent failures and latency of each, in the order of the configuration.
pub async fn on_admin(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    if let Err(refusal) = gate::admit(&admin, &translate::request_headers(request.headers()), Scope::Admin) {
        return *refusal;
    }
    HttpResponse::Ok().json(serde_json::json!({ "origins": admin.delivery().origins() }))
}
