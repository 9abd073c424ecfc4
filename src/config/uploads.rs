//! From `[uploads]` to what takes and keeps them.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use http::HeaderValue;
use millrace_kit::config::Faults;

use super::{Raw, raw::Mode};
use crate::upload::{Limits, TypeRules};

/// The name of the store among the origins.
pub const ORIGIN: &str = "uploads";

#[derive(Debug, Clone)]
pub struct UploadSettings {
    pub dir: PathBuf,
    pub limits: Limits,
    pub cache_control: HeaderValue,
    pub allow_origins: Vec<String>,
}

/// None: uploads are not taken here.
pub(super) fn resolve(raw: &Raw, has_keys: bool, faults: &mut Faults) -> Option<UploadSettings> {
    let uploads = &raw.uploads;
    let mut size = |field: &str, text: &str| match text.parse::<ByteSize>() {
        Ok(size) => size.as_u64(),
        Err(_) => {
            faults.push(format!("uploads.{field}"), format!("{text:?} is not a size such as 10GiB"));
            1
        }
    };
    let (most, quota) = (size("max_size", &uploads.max_size), size("quota", &uploads.quota));
    for (field, number) in [
        ("max_size", most),
        ("max_concurrent", uploads.max_concurrent.into()),
        ("idle_timeout_secs", uploads.idle_timeout_secs.into()),
        ("expiry_secs", uploads.expiry_secs.into()),
    ] {
        if number == 0 {
            faults.push(format!("uploads.{field}"), "must be at least 1");
        }
    }
    let cache_control = HeaderValue::try_from(&uploads.cache_control).unwrap_or_else(|_| {
        faults.push("uploads.cache_control", "is not a valid field value");
        HeaderValue::from_static("no-cache")
    });
    for (place, origin) in uploads.allow_origins.iter().enumerate() {
        let shaped = origin == "*"
            || ["https://", "http://"].iter().any(|scheme| {
                origin.strip_prefix(scheme).is_some_and(|host| {
                    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
                })
            });
        if !shaped {
            let wrong = format!("{origin:?} is not a web origin such as https://studio.example");
            faults.push(format!("uploads.allow_origins[{place}]"), wrong);
        }
    }
    let taken = match uploads.mode {
        Mode::Auto => has_keys,
        Mode::On => true,
        Mode::Off => false,
    };
    if uploads.mode == Mode::On && !has_keys && raw.admin.token.0.is_empty() {
        faults.push("uploads.mode", "is on, but nobody can have a token: set access.secret or admin.token");
    }
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    taken.then(|| UploadSettings {
        dir: dir(raw, &uploads.dir, "assets"),
        limits: Limits {
            size: most,
            concurrent: uploads.max_concurrent as usize,
            idle: seconds(uploads.idle_timeout_secs),
            quota: (quota > 0).then_some(quota),
            expiry: seconds(uploads.expiry_secs),
            types: TypeRules { risky: uploads.risky_types },
        },
        cache_control,
        allow_origins: uploads.allow_origins.clone(),
    })
}

/// As the settings say, or else below where data is.
pub(super) fn dir(raw: &Raw, dir: &str, name: &str) -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match (dir, raw.cache.data_dir.as_str()) {
        ("", "") => var("XDG_DATA_HOME")
            .or_else(|| var("HOME").map(|home| home.join(".local/share")))
            .unwrap_or_else(std::env::temp_dir)
            .join("millrace")
            .join(name),
        ("", data) => PathBuf::from(data).join(name),
        (dir, _) => PathBuf::from(dir),
    }
}
