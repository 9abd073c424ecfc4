//! The embedded pages: gallery and player, with their scripts and styles under `/_millrace/`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use rust_embed::RustEmbed;

use super::data::fixed;
use crate::delivery::{Body, Fields, Outcome, Reason, Response, Served, Target};

#[derive(RustEmbed)]
#[folder = "web/"]
struct Files;

/// Which pages are served.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pages {
    /// `/` is the gallery of the origin's `/index.json`.
    pub gallery: bool,
    /// `/_millrace/player`.
    pub player: bool,
    /// `/_millrace/upload`.
    pub upload: bool,
}

const PREFIX: &str = "/_millrace/";
/// Nothing inline, nothing from elsewhere; media may come from blobs that the player makes, and its empty text tracks stand in the page.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; worker-src 'self' blob:; \
                      object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

impl Pages {
    fn any(self) -> bool {
        self.gallery || self.player || self.upload
    }

    /// Whether one might be there.
    pub fn are_at(&self, target: &Target) -> bool {
        self.any() && (target.path() == "/" || target.path().starts_with(PREFIX))
    }

    /// None when the path is an asset like any other.
    pub fn get(&self, method: &Method, target: &Target) -> Option<Response> {
        if !self.any() || !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let file = match target.path() {
            "/" if self.gallery => "index.html",
            "/_millrace/player" if self.player => "player.html",
            "/_millrace/upload" if self.upload => "upload.html",
            // The pages themselves have these names alone.
            path => path.strip_prefix(PREFIX).filter(|file| !file.ends_with(".html"))?,
        };
        let served = Served::new(Outcome::Hit, Reason::Fresh);
        let Some(found) = Files::get(file) else {
            let served = Served::new(Outcome::Error, Reason::NotFound);
            return Some(Response::problem(StatusCode::NOT_FOUND, "there is no such page", served));
        };
        let mut headers = HeaderMap::new();
        let kind = mime_guess::from_path(file).first_or_octet_stream();
        let kind = if kind.type_() == "text" { format!("{kind}; charset=utf-8") } else { kind.to_string() };
        if let Ok(kind) = kind.try_into() {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        headers.insert(header::CACHE_CONTROL, fixed("no-cache"));
        headers.insert(header::CONTENT_SECURITY_POLICY, fixed(POLICY));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
        headers.insert(HeaderName::from_static("referrer-policy"), fixed("no-referrer"));
        let bytes = match found.data {
            std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let head_length = Some(bytes.len() as u64);
        let body = if *method == Method::HEAD { Body::Empty } else { Body::Full(bytes) };
        let mut response = Response::new(StatusCode::OK, Fields::Own(headers), body, served);
        response.head_length = head_length;
        Some(response)
    }
}
