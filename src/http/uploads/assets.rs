//! `PUT` and `DELETE /assets/{key}`: whole assets, from services that have a token.

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{Ask, admit, condition, empty, json, key_of, refusal};
use crate::{
    delivery::Response,
    http::data::Data,
    upload::{Asset, Digests, Error, Put, Uploads},
};

/// Tags in a request, and bytes of each.
const MAX_TAGS: usize = 32;
const MAX_TAG: usize = 128;

pub async fn put(data: &Data, uploads: &Uploads, ask: Ask) -> Result<Response, Box<Response>> {
    let grant = admit(data, &ask.headers, ask.target.path())?;
    let key = key_of(&ask.target)?;
    let location = ask.target.path().to_owned();
    let put = describe(&ask.headers, grant.owner).map_err(|error| refusal(&error))?;
    let stored = uploads.put(Put { key, ..put }, ask.body).await.map_err(|error| refusal(&error))?;
    let etag = stored.asset.etag();
    Ok(match stored.created {
        true => json(StatusCode::CREATED, &told(&stored.asset)).with(header::LOCATION, location),
        false => empty(StatusCode::NO_CONTENT),
    }
    .with(header::ETAG, etag))
}

pub async fn delete(data: &Data, uploads: &Uploads, ask: &Ask) -> Result<Response, Box<Response>> {
    admit(data, &ask.headers, ask.target.path())?;
    let key = key_of(&ask.target)?;
    let condition = condition::of(&ask.headers).map_err(|error| refusal(&error))?;
    match uploads.delete(key, condition).await {
        Ok(true) => Ok(empty(StatusCode::NO_CONTENT)),
        Ok(false) => Err(refusal(&Error::NoUpload)),
        Err(error) => Err(refusal(&error)),
    }
}

/// An asset as services and operators see it.
pub fn told(asset: &Asset) -> serde_json::Value {
    let hex: String = asset.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let found = asset.probed.clone().unwrap_or_default();
    serde_json::json!({
        "key": asset.key.as_str(),
        "length": asset.length,
        "sha256": hex,
        "type": asset.media_type,
        "tags": asset.tags,
        "owner": asset.owner,
        "version": asset.version,
        "created": asset.created,
        "modified": asset.modified,
        "etag": asset.etag(),
        "probed": asset.probed.is_some(),
        "duration_ms": found.duration_ms,
        "width": found.size.map(|(width, _)| width),
        "height": found.size.map(|(_, height)| height),
        "codecs": found.codecs,
    })
}

/// All but the key.
fn describe(headers: &HeaderMap, owner: String) -> Result<Put, Error> {
    let one = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let coding = one(header::CONTENT_ENCODING).unwrap_or("identity");
    if !coding.eq_ignore_ascii_case("identity") {
        return Err(Error::Type(format!(
            "a body in the content coding {coding:?} is not taken; send it as it is"
        )));
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(Error::Bad("an asset is put as a whole; /files/ takes it in pieces".to_owned()));
    }
    Ok(Put {
        key: crate::upload::AssetKey::parse("-")?,
        length: one(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        media_type: one(header::CONTENT_TYPE).map(str::to_owned),
        tags: tags(headers)?,
        digests: Digests::of(headers)?,
        condition: condition::of(headers)?,
        owner,
    })
}

/// Of `Cache-Tag`, with commas between them.
pub fn tags(headers: &HeaderMap) -> Result<Vec<String>, Error> {
    let mut tags = Vec::new();
    for line in headers.get_all("cache-tag") {
        let line = line.to_str().map_err(|_| Error::Bad("tags are ASCII".to_owned()))?;
        tags.extend(line.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned));
    }
    let shaped =
        |tag: &String| tag.len() <= MAX_TAG && tag != "*" && tag.bytes().all(|byte| byte.is_ascii_graphic());
    if tags.len() > MAX_TAGS || !tags.iter().all(shaped) {
        let wrong =
            format!("at most {MAX_TAGS} tags of at most {MAX_TAG} bytes, without spaces, are possible");
        return Err(Error::Bad(wrong));
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}
