//! `POST /assets/`: files from a form (`multipart/form-data`, RFC 7578), each stored as it comes.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, StatusCode, header};
use multer::{Field, Multipart};

use super::{ASSETS, Ask, condition, encoded, json, refusal};
use crate::{
    admission::{Grant, Scope},
    delivery::{Response, Target},
    http::{data::Data, gate},
    upload::{Asset, AssetKey, Body, Digests, Error, Put, Uploads},
};

/// Fields of one form, files among them.
const MAX_FIELDS: usize = 100;
/// Bytes of a field that is no file.
const MAX_TEXT: usize = 4096;
/// Bytes in which the parser, which keeps and searches them all, finds nothing: of what stands before a part, and of its head.
const MAX_HEAD: usize = 16 << 10;
const TOO_LONG: &str = "the head of a part, or what stands before it, is too long";

/// What the fields before a file say of it.
#[derive(Default)]
struct Said {
    /// Of the next file; else it is called as it was at the client's.
    key: Option<String>,
    /// Of all that follow: stands before their names.
    prefix: String,
    tags: Vec<String>,
}

pub async fn post(data: &Data, uploads: &Uploads, ask: Ask) -> Result<Response, Box<Response>> {
    let refused = |error: Error| refusal(&error);
    let grant = data.admission.identify(&ask.headers).and_then(|grant| {
        grant.check_scope(Scope::Upload)?;
        Ok(grant)
    });
    let grant = grant.map_err(gate::refusal)?;
    let (mut form, vain) = open(&ask.headers, ask.body).map_err(refused)?;
    let mut said = Said::default();
    let mut stored: Vec<Asset> = Vec::new();
    let mut created = false;
    for _ in 0..MAX_FIELDS {
        let Some(field) = form.next_field().await.map_err(|error| refusal(&broken(&error)))? else {
            if stored.is_empty() {
                return Err(refusal(&Error::Bad("the form has no file".to_owned())));
            }
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let assets: Vec<_> = stored.iter().map(told).collect();
            let response = json(status, &serde_json::json!({ "assets": assets }));
            return Ok(match &stored[..] {
                [one] => response.with(header::LOCATION, path_of(&one.key)),
                _ => response,
            });
        };
        vain.reset();
        let Some(name) = field.file_name().map(str::to_owned) else {
            note(&mut said, field, &vain).await.map_err(refused)?;
            continue;
        };
        match store(uploads, &grant, &ask.headers, &mut said, (name, field), &vain).await {
            Ok(None) => {}
            Ok(Some((asset, new))) => {
                stored.push(asset);
                created |= new;
            }
            Err(Denied::Gate(response)) => return Err(response),
            Err(Denied::Upload(error)) => return Err(behind(&error, &stored)),
        }
    }
    Err(behind(&Error::Bad(format!("a form has at most {MAX_FIELDS} fields")), &stored))
}

enum Denied {
    Gate(Box<Response>),
    Upload(Error),
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        Self::Upload(error)
    }
}

fn open(headers: &HeaderMap, body: Body) -> Result<(Multipart<'static>, Vain), Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wrong = || Error::Type("a form comes as multipart/form-data with a boundary".to_owned());
    let boundary = multer::parse_boundary(kind).map_err(|_| wrong())?;
    // RFC 2046 §5.1.1
    if boundary.is_empty() || boundary.len() > 70 {
        return Err(wrong());
    }
    if Digests::of(headers)? != Digests::default() {
        return Err(Error::Bad("a digest of a whole form says nothing of the files in it".to_owned()));
    }
    let vain = Vain::default();
    let stream = OneByOne { body, rest: false, vain: vain.clone() };
    Ok((Multipart::new(stream, boundary), vain))
}

/// A field that is no file.
async fn note(said: &mut Said, mut field: Field<'static>, vain: &Vain) -> Result<(), Error> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut text = Vec::new();
    while let Some(bytes) = field.chunk().await.map_err(|error| broken(&error))? {
        vain.reset();
        text.extend_from_slice(&bytes);
        if text.len() > MAX_TEXT {
            return Err(Error::Bad(format!("the field {name:?} has more than {MAX_TEXT} bytes")));
        }
    }
    let text = String::from_utf8(text).map_err(|_| Error::Bad(format!("the field {name:?} is not UTF-8")))?;
    match name.as_str() {
        "key" if !text.is_empty() => said.key = Some(text),
        "prefix" => said.prefix = text.trim_end_matches('/').to_owned(),
        "tags" => {
            let mut headers = HeaderMap::new();
            let tags = text.parse().map_err(|_| Error::Bad("tags are ASCII".to_owned()))?;
            headers.insert("cache-tag", tags);
            said.tags = super::assets::tags(&headers)?;
        }
        // Of the page's own.
        _ => {}
    }
    Ok(())
}

/// None: a field for files in which nobody chose one.
async fn store(
    uploads: &Uploads,
    grant: &Grant,
    headers: &HeaderMap,
    said: &mut Said,
    (name, mut field): (String, Field<'static>),
    vain: &Vain,
) -> Result<Option<(Asset, bool)>, Denied> {
    let first = field.chunk().await.map_err(|error| broken(&error))?.filter(|bytes| !bytes.is_empty());
    vain.reset();
    if name.is_empty() && first.is_none() {
        return Ok(None);
    }
    let key = match said.key.take() {
        Some(key) => key,
        None => sanitised(&name),
    };
    let key = match said.prefix.as_str() {
        "" => key,
        prefix => format!("{prefix}/{key}"),
    };
    let key = AssetKey::parse(&key).map_err(Error::from)?;
    let target = Target::parse(&path_of(&key)).map_err(|wrong| Error::Bad(wrong.to_string()))?;
    grant.check_path(Scope::Upload, target.path()).map_err(|denied| Denied::Gate(gate::refusal(denied)))?;
    let declared = field.content_type().map(ToString::to_string);
    let put = Put {
        key,
        length: None,
        // What browsers say of files that they do not know.
        media_type: declared.filter(|kind| kind != "application/octet-stream"),
        tags: said.tags.clone(),
        digests: Digests::default(),
        condition: condition::of(headers)?,
        owner: grant.owner.clone(),
    };
    let first = futures_util::stream::iter(first.map(Ok));
    let vain = vain.clone();
    let rest = field.map(move |read| {
        vain.reset();
        read.map_err(io::Error::other)
    });
    let stored = uploads.put(put, first.chain(rest).boxed()).await?;
    Ok(Some((stored.asset, stored.created)))
}

/// Of a file's name at the client's, what may be a key: no folders, and nothing that means something elsewhere.
fn sanitised(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |char: char| if char.is_control() || ":*?\"<>|".contains(char) { '-' } else { char };
    let name: String = name.chars().map(plain).collect();
    name.trim().trim_end_matches(['.', ' ']).to_owned()
}

fn told(asset: &Asset) -> serde_json::Value {
    let mut told = super::assets::told(asset);
    told["path"] = path_of(&asset.key).into();
    told
}

fn path_of(key: &AssetKey) -> String {
    format!("{ASSETS}{}", encoded(key.as_str()))
}

/// What failed, and what had been stored before that.
fn behind(error: &Error, stored: &[Asset]) -> Box<Response> {
    if stored.is_empty() {
        return refusal(error);
    }
    let keys: Vec<_> = stored.iter().map(|asset| asset.key.as_str()).collect();
    super::refusal_with(error, &format!("stored before that: {}", keys.join(", ")))
}

fn broken(error: &multer::Error) -> Error {
    match error {
        multer::Error::StreamReadFailed(cause) if cause.to_string() == TOO_LONG => {
            Error::Bad(TOO_LONG.to_owned())
        }
        multer::Error::StreamReadFailed(_)
        | multer::Error::IncompleteStream
        | multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteHeaders => Error::Short,
        other => Error::Bad(other.to_string()),
    }
}

/// Bytes since the parser found something.
#[derive(Clone, Default)]
struct Vain(Arc<AtomicUsize>);

impl Vain {
    fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The parser takes all that is there at once; so there is never more than one piece.
struct OneByOne {
    body: Body,
    rest: bool,
    vain: Vain,
}

impl Stream for OneByOne {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rest) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.vain.0.load(Ordering::Relaxed) > MAX_HEAD {
            return Poll::Ready(Some(Err(io::Error::other(TOO_LONG))));
        }
        let polled = self.body.poll_next_unpin(context);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            self.vain.0.fetch_add(bytes.len(), Ordering::Relaxed);
            self.rest = true;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// Whatever else there is to say.
    #[tokio::test]
    async fn heads_without_an_end_are_not_gathered() {
        let kind = header::HeaderValue::from_static("multipart/form-data; boundary=x");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        for begin in ["--x\r\nContent-Disposition: form-data; name=\"a\"\r\nX-Long: ", "no boundary, but "] {
            let asked = Arc::new(AtomicUsize::new(0));
            let counted = asked.clone();
            let more = stream::repeat_with(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(Bytes::from_static(&[b'y'; 1024]))
            });
            let body = stream::iter([Ok(Bytes::from_static(begin.as_bytes()))]).chain(more.take(1000));
            let (mut form, _) = open(&headers, body.boxed()).unwrap();
            let error = form.next_field().await.unwrap_err();
            assert!(matches!(broken(&error), Error::Bad(text) if text == TOO_LONG), "{begin}: {error}");
            assert!(asked.load(Ordering::Relaxed) <= MAX_HEAD / 1024 + 2, "{begin}: {asked:?}");
        }
    }

    #[test]
    fn names_of_files_become_keys() {
        for (name, key) in [
            ("a b.jpg", "a b.jpg"),
            ("C:\\fakepath\\a.jpg", "a.jpg"),
            ("/etc/passwd", "passwd"),
            ("../../x.png", "x.png"),
            ("a\r\nb:c?.mp4", "a--b-c-.mp4"),
            (" x.txt. ", "x.txt"),
            ("..", ""),
            ("Über.mp4", "Über.mp4"),
        ] {
            assert_eq!(sanitised(name), key, "{name:?}");
        }
    }
}
