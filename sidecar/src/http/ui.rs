//! The dashboard: files embedded in the binary, nothing from elsewhere, no inline script. One page; which of its tabs is
//! open is in the address, behind the `#` or, of old, as a path.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, AcceptEncoding, Encoding, Header},
    web,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use parking_lot::Mutex;
use rust_embed::{EmbeddedFile, RustEmbed};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Addresses of the page.
const PAGES: [&str; 2] = ["/", "/admin/scaling"];

#[derive(RustEmbed)]
#[folder = "ui/"]
struct Files;

/// Files in their compressed form, made when they are first asked for. As many as are embedded.
#[derive(Default)]
struct Squeezed(Mutex<HashMap<String, (String, Bytes)>>);

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.app_data(web::Data::new(Squeezed::default()));
    for page in PAGES {
        config.route(page, web::get().to(index));
    }
    config.route("/ui/{file:.*}", web::get().to(file));
    config.default_service(web::to(nothing));
}

async fn index(request: HttpRequest, squeezed: web::Data<Squeezed>) -> HttpResponse {
    answer(&request, &squeezed, "index.html")
}

async fn file(request: HttpRequest, squeezed: web::Data<Squeezed>, path: web::Path<String>) -> HttpResponse {
    answer(&request, &squeezed, &path)
}

fn answer(request: &HttpRequest, squeezed: &Squeezed, path: &str) -> HttpResponse {
    let Some(EmbeddedFile { data, metadata, .. }) = Files::get(path) else { return not_found() };
    let hash = metadata.sha256_hash();
    let hash = hash[..8].iter().fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
    let body = Bytes::from(data.into_owned());
    let short = if takes_gzip(request) { squeezed.get(path, &hash, &body) } else { None };
    // Each form has its own validator, RFC 9110 §8.8.3.
    let tag = format!("\"{hash}{}\"", if short.is_some() { "-gzip" } else { "" });
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = known == Some(tag.as_str());
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::VARY, "accept-encoding"))
        .insert_header((header::CONTENT_TYPE, content_type(path)))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if unchanged {
        return response.finish();
    }
    match short {
        Some(short) => response.insert_header((header::CONTENT_ENCODING, "gzip")).body(short),
        None => response.body(body),
    }
}

impl Squeezed {
    fn get(&self, path: &str, hash: &str, body: &Bytes) -> Option<Bytes> {
        let mut held = self.0.lock();
        if let Some((_, short)) = held.get(path).filter(|(made_of, _)| made_of == hash) {
            return Some(short.clone());
        }
        let short = gzip(body).ok().filter(|short| short.len() < body.len())?;
        held.insert(path.to_owned(), (hash.to_owned(), short.clone()));
        Some(short)
    }
}

fn gzip(body: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}

fn takes_gzip(request: &HttpRequest) -> bool {
    let known = [Encoding::gzip(), Encoding::identity()];
    AcceptEncoding::parse(request)
        .is_ok_and(|accepted| accepted.negotiate(known.iter()) == Some(Encoding::gzip()))
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
