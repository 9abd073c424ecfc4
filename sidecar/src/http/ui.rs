//! The dashboard: files embedded in the binary, nothing from elsewhere, no inline script.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use rust_embed::{EmbeddedFile, RustEmbed};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "ui/"]
struct Files;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/", web::get().to(index));
    config.route("/ui/{file:.*}", web::get().to(file));
    config.default_service(web::to(nothing));
}

async fn index(request: HttpRequest) -> HttpResponse {
    answer(&request, "index.html")
}

async fn file(request: HttpRequest, path: web::Path<String>) -> HttpResponse {
    answer(&request, &path)
}

fn answer(request: &HttpRequest, path: &str) -> HttpResponse {
    let Some(EmbeddedFile { data, metadata, .. }) = Files::get(path) else { return not_found() };
    let hash = metadata.sha256_hash();
    let tag = hash[..8].iter().fold(String::new(), |tag, byte| format!("{tag}{byte:02x}"));
    let tag = format!("\"{tag}\"");
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = known == Some(tag.as_str());
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_TYPE, content_type(path)))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if unchanged { response.finish() } else { response.body(data.into_owned()) }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

async fn nothing() -> HttpResponse {
    not_found()
}

fn not_found() -> HttpResponse {
    let body = serde_json::json!({ "status": 404, "title": "Not Found" });
    HttpResponse::NotFound().content_type("application/problem+json").body(body.to_string())
}
