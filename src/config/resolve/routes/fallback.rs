//! From `[routes.fallback]` to what stands in.

use std::{fs, io::Read};

use http::{HeaderValue, StatusCode};

use super::{Here, path};
use crate::{
    config::raw,
    delivery::policy::{Fallback, FallbackContent},
    origin::directory::content_type_of,
};

/// It stays in memory.
const MAX_BYTES: u64 = 16 << 20;

pub(super) fn fallback(raw: &raw::Fallback, faults: &mut Here<'_>) -> Option<Fallback> {
    let status = StatusCode::from_u16(raw.status).ok().filter(|status| {
        let bodiless = matches!(status.as_u16(), 204 | 205 | 206 | 304);
        (200..600).contains(&status.as_u16()) && !bodiless
    });
    if status.is_none() {
        faults.push("fallback.status", "must be a status from 200 to 599 of answers that have a body");
    }
    let cache_control = value(&raw.cache_control, "fallback.cache_control", faults);
    let content = match (raw.file.as_str(), raw.path.as_str()) {
        ("", "") => None,
        ("", target) => path(target, "fallback.path", faults).map(FallbackContent::Path),
        (file, "") => self::file(file, &raw.content_type, faults),
        _ => {
            faults.push("fallback", "has either a file or a path");
            None
        }
    };
    Some(Fallback { content: content?, status: status?, cache_control: cache_control? })
}

fn value(text: &str, field: &str, faults: &mut Here<'_>) -> Option<HeaderValue> {
    faults.check(field, HeaderValue::from_str(text).map_err(|_| "is not the value of a field"))
}

fn file(name: &str, content_type: &str, faults: &mut Here<'_>) -> Option<FallbackContent> {
    let mut bytes = Vec::new();
    let read = fs::File::open(name).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    faults.check("fallback.file", read.map_err(|wrong| format!("{name}: {wrong}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        faults.push("fallback.file", "has more than 16 MiB");
    }
    let content_type = match content_type {
        "" => content_type_of(name.rsplit_once('.').map_or("", |(_, extension)| extension)),
        text => value(text, "fallback.content_type", faults)?,
    };
    Some(FallbackContent::File { bytes: bytes.into(), content_type })
}
