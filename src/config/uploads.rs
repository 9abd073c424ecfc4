//! From `[uploads]` to what takes and keeps them.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use http::HeaderValue;
use millrace_kit::config::Faults;

use super::{
    Raw, database, http_origin,
    raw::{self, Mode},
    s3 as s3_settings,
};
use crate::{
    origin::{CdnLoop, Spec, parse_spec, s3},
    store::{blobs::BucketPlace, database::Config as DatabaseConfig},
    upload::{Limits, TypeRules},
};

/// The name of the store among the origins.
pub const ORIGIN: &str = "uploads";

#[derive(Debug, Clone)]
pub struct UploadSettings {
    pub blobs: BlobSettings,
    pub catalogue: CatalogueSettings,
    pub limits: Limits,
    pub cache_control: HeaderValue,
    pub allow_origins: Vec<String>,
}

#[derive(Debug, Clone)]
pub enum BlobSettings {
    Directory(PathBuf),
    Bucket(Box<s3::Config>, BucketPlace),
}

#[derive(Debug, Clone)]
pub enum CatalogueSettings {
    Sqlite(PathBuf),
    Postgres(Box<DatabaseConfig>),
}

/// S3 answers when it has stored what was sent.
const ANSWER_TIMEOUT_MS: u32 = 120_000;

/// None: uploads are not taken here.
pub(super) fn resolve(
    raw: &Raw,
    has_keys: bool,
    cdn_loop: &CdnLoop,
    faults: &mut Faults,
) -> Option<UploadSettings> {
    let uploads = &raw.uploads;
    let mut size = |field: &str, text: &str| match text.parse::<ByteSize>() {
        Ok(size) => size.as_u64(),
        Err(_) => {
            faults.push(format!("uploads.{field}"), format!("{text:?} is not a size such as 10GiB"));
            1
        }
    };
    let (most, quota) = (size("max_size", &uploads.max_size), size("quota", &uploads.quota));
    let least_rate = size("least_rate", &uploads.least_rate);
    for (field, number) in [
        ("max_size", most),
        ("max_concurrent", uploads.max_concurrent.into()),
        ("idle_timeout_secs", uploads.idle_timeout_secs.into()),
        ("expiry_secs", uploads.expiry_secs.into()),
        ("max_unfinished", uploads.max_unfinished.into()),
        ("max_unfinished_per_owner", uploads.max_unfinished_per_owner.into()),
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
    let blobs = blobs(raw, most, cdn_loop, faults);
    let catalogue = catalogue(raw, faults);
    taken.then(|| UploadSettings {
        blobs,
        catalogue,
        limits: Limits {
            size: most,
            concurrent: uploads.max_concurrent as usize,
            idle: seconds(uploads.idle_timeout_secs),
            least_rate,
            unfinished: uploads.max_unfinished.into(),
            unfinished_per_owner: uploads.max_unfinished_per_owner.into(),
            quota: (quota > 0).then_some(quota),
            expiry: seconds(uploads.expiry_secs),
            types: TypeRules { risky: uploads.risky_types },
        },
        cache_control,
        allow_origins: uploads.allow_origins.clone(),
    })
}

fn blobs(raw: &Raw, longest: u64, cdn_loop: &CdnLoop, faults: &mut Faults) -> BlobSettings {
    let uploads = &raw.uploads;
    let key = |field: &str| match field.strip_prefix("s3.") {
        Some(_) => format!("uploads.{field}"),
        None => "uploads.store".to_owned(),
    };
    if uploads.store.is_empty() {
        if uploads.s3 != raw::S3::default() {
            faults.push("uploads.s3", "goes with `store = \"s3://…\"`");
        }
        return BlobSettings::Directory(assets(raw));
    }
    let Ok(Spec::S3 { bucket, prefix }) = parse_spec(&uploads.store) else {
        faults.push("uploads.store", "must be empty or s3://bucket/prefix");
        return BlobSettings::Directory(assets(raw));
    };
    let place = BucketPlace {
        bucket: bucket.clone(),
        prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
        longest,
    };
    let origin = raw::Origin {
        url: uploads.store.clone(),
        s3: uploads.s3.clone(),
        first_byte_timeout_ms: ANSWER_TIMEOUT_MS,
        ..raw::Origin::default()
    };
    let somewhere = s3_settings::somewhere();
    let mut http = http_origin::resolve(&origin, ORIGIN.into(), somewhere, cdn_loop, &key, faults);
    // Endpoints, and what gives credentials to a machine, are private as a rule.
    http.allow_private = true;
    let config = s3_settings::resolve(&origin, (bucket, prefix), http, key, faults);
    BlobSettings::Bucket(Box::new(config), place)
}

fn catalogue(raw: &Raw, faults: &mut Faults) -> CatalogueSettings {
    let uploads = &raw.uploads;
    let (connections, ca_file) = (uploads.database_connections, &uploads.database_ca_file);
    match database::resolve(&uploads.database, connections, ca_file, "uploads.database", faults) {
        Some(config) => CatalogueSettings::Postgres(Box::new(config)),
        None => CatalogueSettings::Sqlite(assets(raw).join("catalogue.sqlite")),
    }
}

/// Where assets and their catalogue are on this machine.
fn assets(raw: &Raw) -> PathBuf {
    dir(raw, &raw.uploads.dir, "assets")
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
