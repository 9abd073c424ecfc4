//! The condition of the origins, on the admin port.

use actix_web::{HttpResponse, web};

use super::admin::Admin;

/// `GET /api/v1/origins`: health, breaker, recent failures and latency of each, in the order of the configuration.
pub async fn on_admin(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "origins": admin.delivery().origins() }))
}
