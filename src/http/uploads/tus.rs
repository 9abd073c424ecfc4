//! tus 1.0 at `/files/`: creation (with upload, and with a length that comes later), checksum, termination, expiration and
//! concatenation.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{ASSETS, Ask, empty, encoded, refusal};
use crate::{
    admission::{Grant, Scope},
    delivery::Response,
    http::{data::Data, gate},
    upload::{
        BlobId, Error, Uploads,
        resumable::{Begin, Checksum, Kind, Metadata, Piece, Progress},
    },
};

/// Below which uploads are.
pub const FILES: &str = "/files/";
const VERSION: &str = "1.0.0";
const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration,concatenation";
const PIECE: &str = "application/offset+octet-stream";

/// A field of the protocol.
fn field(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

pub async fn answer(data: &Data, uploads: &Uploads, ask: Ask) -> Response {
    let answered = match ask.method {
        Method::OPTIONS => Ok(options(uploads)),
        _ if text(&ask.headers, "tus-resumable") != Some(VERSION) => {
            let error = Error::Bad(format!("Tus-Resumable must be {VERSION}"));
            let mut response = refusal(&error);
            response.status = StatusCode::PRECONDITION_FAILED;
            Err(Box::new(response.with(field("tus-version"), VERSION)))
        }
        _ => resource(data, uploads, ask).await,
    };
    answered.unwrap_or_else(|refused| *refused).with(field("tus-resumable"), VERSION)
}

fn options(uploads: &Uploads) -> Response {
    empty(StatusCode::NO_CONTENT)
        .with(field("tus-version"), VERSION)
        .with(field("tus-extension"), EXTENSIONS)
        .with(field("tus-max-size"), HeaderValue::from(uploads.limits().size))
        .with(field("tus-checksum-algorithm"), Checksum::ALGORITHMS)
}

async fn resource(data: &Data, uploads: &Uploads, ask: Ask) -> Result<Response, Box<Response>> {
    // Whose it is counts more than where it will be, which only its creator names.
    let grant = data.admission.identify(&ask.headers).and_then(|grant| {
        grant.check_scope(Scope::Upload)?;
        Ok(grant)
    });
    let grant = grant.map_err(gate::refusal)?;
    let id = ask.target.path().strip_prefix(FILES).unwrap_or_default();
    let refused = |error: Error| refusal(&error);
    if id.is_empty() {
        return match ask.method {
            Method::POST => create(uploads, &grant, ask).await,
            _ => Err(not_allowed("OPTIONS, POST")),
        };
    }
    let id = BlobId::parse(id).ok_or_else(|| refusal(&Error::NoUpload))?;
    match ask.method {
        Method::HEAD => {
            uploads.progress(&id, owner(&grant)).await.map(|progress| told(&progress)).map_err(refused)
        }
        Method::PATCH => patch(uploads, &grant, &id, ask).await,
        Method::DELETE => {
            uploads.give_up(&id, owner(&grant)).await.map(|()| empty(StatusCode::NO_CONTENT)).map_err(refused)
        }
        _ => Err(not_allowed("OPTIONS, HEAD, PATCH, DELETE")),
    }
}

async fn create(uploads: &Uploads, grant: &Grant, ask: Ask) -> Result<Response, Box<Response>> {
    let refused = |error: Error| refusal(&error);
    let headers = &ask.headers;
    let metadata = Metadata::parse(text(headers, "upload-metadata").unwrap_or_default()).map_err(refused)?;
    let concat = text(headers, "upload-concat").unwrap_or_default();
    let partial = concat == "partial";
    if !partial {
        let key = metadata.key().map_err(refused)?;
        let path = crate::delivery::Target::parse(&format!("{ASSETS}{}", encoded(key.as_str())));
        let path = path.map_err(|wrong| refusal(&Error::Bad(wrong.to_string())))?;
        grant.check_path(Scope::Upload, path.path()).map_err(gate::refusal)?;
    }
    let mut begin = Begin {
        length: None,
        bytes: number(headers, "content-length").map_err(refused)?,
        metadata,
        partial,
        owner: grant.owner.clone(),
    };
    let progress = match concat.strip_prefix("final;") {
        Some(urls) => {
            let parts = parts(urls)
                .ok_or_else(|| refusal(&Error::Bad("Upload-Concat names no uploads here".to_owned())))?;
            uploads.concatenate(begin, parts, grant.is_admin()).await
        }
        None if !concat.is_empty() && !partial => {
            Err(Error::Bad("Upload-Concat is `partial`, or `final;` with addresses".to_owned()))
        }
        None => {
            begin.length = number(headers, "upload-length").map_err(refused)?;
            let later = text(headers, "upload-defer-length") == Some("1");
            if begin.length.is_some() == later {
                return Err(refusal(&Error::Bad(
                    "either Upload-Length or `Upload-Defer-Length: 1` is needed".to_owned(),
                )));
            }
            let body = match text(headers, "content-type") == Some(PIECE) {
                true => Some((checksum(headers).map_err(refused)?, ask.body)),
                false => None,
            };
            uploads.begin(begin, body).await
        }
    };
    let progress = progress.map_err(refused)?;
    let location = format!("{FILES}{}", progress.upload.id);
    Ok(fields(empty(StatusCode::CREATED), &progress).with(header::LOCATION, location))
}

async fn patch(uploads: &Uploads, grant: &Grant, id: &BlobId, ask: Ask) -> Result<Response, Box<Response>> {
    let refused = |error: Error| refusal(&error);
    let headers = &ask.headers;
    if text(headers, "content-type") != Some(PIECE) {
        return Err(refusal(&Error::Type(format!("a piece comes as {PIECE}"))));
    }
    let offset = number(headers, "upload-offset").map_err(refused)?;
    let piece = Piece {
        offset: offset.ok_or_else(|| refusal(&Error::Bad("Upload-Offset is needed".to_owned())))?,
        length: number(headers, "upload-length").map_err(refused)?,
        bytes: number(headers, "content-length").map_err(refused)?,
        checksum: checksum(headers).map_err(refused)?,
        owner: owner(grant).map(str::to_owned),
    };
    let progress = uploads.append(id, piece, ask.body).await.map_err(refused)?;
    Ok(fields(empty(StatusCode::NO_CONTENT), &progress))
}

/// None: somebody who may write to all uploads.
fn owner(grant: &Grant) -> Option<&str> {
    (!grant.is_admin()).then_some(&*grant.owner)
}

/// The answer to HEAD.
fn told(progress: &Progress) -> Response {
    let upload = &progress.upload;
    let mut response = fields(empty(StatusCode::OK), progress);
    response = match upload.length {
        Some(length) => response.with(field("upload-length"), HeaderValue::from(length)),
        None => response.with(field("upload-defer-length"), "1"),
    };
    if !upload.metadata.is_empty() {
        response = response.with(field("upload-metadata"), upload.metadata.clone());
    }
    match upload.kind {
        Kind::Partial => response.with(field("upload-concat"), "partial"),
        _ if !upload.parts.is_empty() => {
            let urls: Vec<_> = upload.parts.iter().map(|id| format!("{FILES}{id}")).collect();
            response.with(field("upload-concat"), format!("final;{}", urls.join(" ")))
        }
        _ => response,
    }
}

fn fields(response: Response, progress: &Progress) -> Response {
    let expires = UNIX_EPOCH + Duration::from_millis(u64::try_from(progress.upload.expires).unwrap_or(0));
    let response = response
        .with(field("upload-offset"), HeaderValue::from(progress.offset))
        .with(field("upload-expires"), httpdate::fmt_http_date(expires));
    match progress.upload.length == Some(progress.offset) && progress.upload.kind != Kind::Partial {
        true => response.with(header::CONTENT_LOCATION, format!("{ASSETS}{}", encoded(&progress.upload.key))),
        false => response,
    }
}

/// With or without a host in front.
fn parts(urls: &str) -> Option<Vec<BlobId>> {
    let id = |url: &str| BlobId::parse(url.rsplit_once(FILES)?.1);
    urls.split_ascii_whitespace().map(id).collect()
}

fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, Error> {
    text(headers, "upload-checksum").map(Checksum::parse).transpose()
}

/// Digits alone.
fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, Error> {
    let wrong = || Error::Bad(format!("{name} is a number of bytes"));
    let Some(text) = headers.get(name).map(|value| value.to_str().unwrap_or_default()) else {
        return Ok(None);
    };
    let shaped = !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !shaped {
        return Err(wrong());
    }
    text.parse().map(Some).map_err(|_| wrong())
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn not_allowed(allow: &'static str) -> Box<Response> {
    let mut response = refusal(&Error::Bad("this method is not for uploads".to_owned()));
    response.status = StatusCode::METHOD_NOT_ALLOWED;
    Box::new(response.with(header::ALLOW, allow))
}
