//! Each origin as its kind wants it.

use std::sync::Arc;

use millrace_kit::config::Faults;

use super::{
    super::{http_origin, raw, s3 as s3_settings},
    OriginSettings,
};
use crate::origin::{CdnLoop, Spec, directory, parse_spec};

pub fn origins(raw: &[raw::Origin], cdn_loop: &CdnLoop, faults: &mut Faults) -> Vec<OriginSettings> {
    let mut resolved = Vec::with_capacity(raw.len());
    let mut names: Vec<Arc<str>> = Vec::new();
    for (index, origin) in raw.iter().enumerate() {
        let key = |field: &str| format!("origins[{index}].{field}");
        let spec = match parse_spec(&origin.url) {
            Ok(spec) => spec,
            Err(wrong) => {
                faults.push(key("url"), wrong.to_string());
                continue;
            }
        };
        let name: Arc<str> = match (origin.name.as_str(), &spec) {
            ("", Spec::Http(url)) => url.authority().into(),
            ("", Spec::Directory(path)) => path.display().to_string().into(),
            ("", Spec::S3 { bucket, .. }) => bucket.as_str().into(),
            (name, _) => name.into(),
        };
        if names.contains(&name) {
            faults.push(key("name"), format!("{name:?} is the name of another origin"));
        }
        names.push(name.clone());
        for (field, timeout) in [
            ("connect_timeout_ms", origin.connect_timeout_ms),
            ("first_byte_timeout_ms", origin.first_byte_timeout_ms),
            ("idle_timeout_ms", origin.idle_timeout_ms),
        ] {
            if timeout == 0 {
                faults.push(key(field), "must be at least 1");
            }
        }
        if !(origin.strip_prefix.is_empty() || origin.strip_prefix.starts_with('/')) {
            faults.push(key("strip_prefix"), "must begin with a slash");
        }
        if !matches!(spec, Spec::S3 { .. }) && origin.s3 != raw::S3::default() {
            faults.push(key("s3"), "is for origins with an s3:// URL");
        }
        resolved.push(match spec {
            Spec::Http(url) => {
                OriginSettings::Http(http_origin::resolve(origin, name, url, cdn_loop, &key, faults).into())
            }
            Spec::S3 { bucket, prefix } => {
                let mut http =
                    http_origin::resolve(origin, name, s3_settings::somewhere(), cdn_loop, &key, faults);
                // Endpoints, and what gives credentials to a machine, are private as a rule.
                http.allow_private = true;
                // What is sent names bucket and key.
                http.strip_prefix.clear();
                let config = s3_settings::resolve(origin, (bucket, prefix), http, key, faults);
                OriginSettings::S3(Box::new(config))
            }
            Spec::Directory(path) => OriginSettings::Directory(directory::Config {
                strip_prefix: origin.strip_prefix.clone(),
                cache_control: origin.cache_control.clone(),
                follow_symlinks: origin.follow_symlinks,
                ..directory::Config::new(name, path)
            }),
        });
    }
    resolved
}
