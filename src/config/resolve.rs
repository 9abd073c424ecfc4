//! From raw settings to what the parts are built from; everything that does not fit is collected.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use bytesize::ByteSize;
use millrace_kit::{config::Faults, telemetry};

use super::{
    Raw, access, edge, http_origin,
    jobs::{self, JobSettings},
    raw, retry, s3 as s3_settings,
    uploads::{self, ORIGIN, UploadSettings},
    warm,
};
use crate::{
    acme, admission,
    cache::{self, storable::Rules},
    delivery::{self, FillLimits, MediaConfig, coding, sandbox::Svg},
    http,
    media::{
        encodes,
        ffmpeg::Ffmpeg,
        image, pool,
        video::{Choice, Encoder, Ladder, Language, Step},
    },
    origin::{CdnLoop, Spec, directory, http::Config as HttpOrigin, member, parse_spec, s3},
};

mod images;
mod routes;

/// Settings that have been found good, as the parts want them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// As a user wrote them.
    pub raw: Raw,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub access: admission::Config,
    /// None: uploads are not taken.
    pub uploads: Option<UploadSettings>,
    /// None: there are none.
    pub jobs: Option<JobSettings>,
    pub http: http::Config,
    pub door: http::door::Config,
    /// Where TLS is spoken, and by which certificates.
    pub tls: Option<(SocketAddr, http::tls::Config)>,
    /// Which of them are ordered.
    pub acme: Option<acme::Config>,
    pub admin_hosts: Arc<[String]>,
    pub pages: http::Pages,
    pub cache: cache::Config,
    pub origins: Vec<OriginSettings>,
    pub cdn_loop: CdnLoop,
    /// How each of them is watched over.
    pub members: Vec<member::Config>,
    pub delivery: delivery::Config,
    pub log: telemetry::Config,
}

#[derive(Debug, Clone)]
pub enum OriginSettings {
    Http(Box<HttpOrigin>),
    Directory(directory::Config),
    S3(Box<s3::Config>),
}

impl OriginSettings {
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Http(config) => &config.name,
            Self::Directory(config) => &config.name,
            Self::S3(config) => &config.name,
        }
    }
}

const DEFAULT_DISK: u64 = 10 << 30;
/// With less the disk tier is not worth its upkeep.
const LEAST_DISK: u64 = 64 << 20;

pub fn resolve(raw: &Raw) -> Result<Settings, Faults> {
    resolve_as(raw, CdnLoop::default())
}

/// For a server that is known to others by this mark already.
pub fn resolve_as(raw: &Raw, cdn_loop: CdnLoop) -> Result<Settings, Faults> {
    let mut faults = Faults::default();
    let listen = address(&raw.server.listen, "server.listen", &mut faults);
    let admin = address(&raw.server.admin, "server.admin", &mut faults);
    let access = access::resolve(raw, &mut faults);
    let uploads = uploads::resolve(raw, !access.keys.is_empty(), &cdn_loop, &mut faults);
    let jobs = jobs::resolve(raw, uploads.is_some(), &mut faults);
    let pages = http::Pages {
        gallery: raw.pages.gallery,
        player: raw.pages.player,
        upload: raw.pages.upload && uploads.is_some(),
    };
    let cache = cache(&raw.cache, &mut faults);
    let warm = warm::resolve(&raw.warm, &mut faults);
    let fill = fill(&raw.fill, &mut faults);
    if raw.origins.is_empty() && uploads.is_none() {
        faults.push("origins", "none is given: pass --origin URL or add [[origins]]");
    }
    let origins = origins(&raw.origins, &cdn_loop, &mut faults);
    let retry = retry::policy(&raw.retry, &mut faults);
    let members = retry::members(raw, &mut faults);
    // Those of origins with other faults too.
    let named = raw.origins.iter().map(|origin| origin.name.as_str().into());
    let ours = uploads.iter().map(|_| Arc::from(ORIGIN));
    if uploads.is_some() && origins.iter().any(|origin| **origin.name() == *ORIGIN) {
        faults.push("origins", format!("{ORIGIN:?} is the name of the server's own assets"));
    }
    let names: Vec<_> = origins.iter().map(|origin| origin.name().clone()).chain(named).chain(ours).collect();
    let storing = Rules { cookies_with_lifetime: raw.cache.cookies_with_lifetime, ..Rules::default() };
    let guards = images::Guards::of(&raw.media, &mut faults);
    let general = routes::General { storing, retry: &raw.retry, images: &guards };
    let (routes, fronts) = routes::routes(&raw.routes, &names, &general, &mut faults);
    let door = edge::door(raw, fronts, &mut faults);
    let acme = edge::acme(&raw.tls.acme, uploads::dir(raw, &raw.tls.acme.dir, "acme"), &mut faults);
    let tls = edge::tls(&raw.tls, acme.as_ref(), &mut faults);
    let admin_hosts = edge::admin_hosts(&raw.admin, &mut faults);
    let media = media(&raw.media, &mut faults);
    let coding = coding(&raw.compression, &mut faults);
    if let Err(wrong) = raw.log.parse_filter() {
        faults.push("log.filter", wrong.to_string());
    }
    for (key, seconds) in [
        ("server.header_timeout_secs", raw.server.header_timeout_secs),
        ("server.max_connections", raw.server.max_connections),
        ("fill.idle_secs", raw.fill.idle_secs),
        ("media.segment_secs", raw.media.segment_secs),
        ("media.ffmpeg_timeout_secs", raw.media.ffmpeg_timeout_secs),
        ("media.image_timeout_secs", raw.media.image_timeout_secs),
    ] {
        if seconds == 0 {
            faults.push(key, "must be at least 1");
        }
    }
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    let http = http::Config {
        workers: or_cores(raw.server.workers),
        max_connections: raw.server.max_connections as usize,
        header_timeout: seconds(raw.server.header_timeout_secs),
        keep_alive: seconds(raw.server.keep_alive_secs),
        drain_timeout: seconds(raw.server.drain_timeout_secs),
    };
    let settings = Settings {
        raw: raw.clone(),
        listen,
        admin,
        access,
        uploads,
        jobs,
        http,
        door,
        tls,
        acme,
        admin_hosts,
        pages,
        cache,
        origins,
        cdn_loop,
        members,
        delivery: delivery::Config {
            fill,
            routing: delivery::RoutingConfig { general: routes::general(&general), routes, retry },
            show_keys: raw.cache.show_keys,
            svg: match raw.media.svg {
                raw::Svg::Sandbox => Svg::Sandboxed,
                raw::Svg::Refuse => Svg::Refused,
            },
            media,
            coding,
            warm,
        },
        log: raw.log.clone(),
    };
    faults.into_result(settings)
}

fn address(text: &str, key: &str, faults: &mut Faults) -> SocketAddr {
    text.parse().unwrap_or_else(|_| {
        faults.push(key, format!("{text:?} is not an address and port such as 127.0.0.1:8080"));
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

pub(super) fn bytes(text: &str, key: &str, faults: &mut Faults) -> u64 {
    text.parse::<ByteSize>().map_or_else(
        |_| {
            faults.push(key, format!("{text:?} is not a size such as 512MiB"));
            0
        },
        |size| size.as_u64(),
    )
}

fn cache(raw: &raw::Cache, faults: &mut Faults) -> cache::Config {
    let memory = bytes(&raw.memory, "cache.memory", faults);
    if memory < 8 << 20 {
        faults.push("cache.memory", "must be at least 8MiB");
    }
    let block_size = bytes(&raw.block_size, "cache.block_size", faults);
    if !block_size.is_power_of_two() || !(64 << 10..=16 << 20).contains(&block_size) {
        faults.push("cache.block_size", "must be a power of two from 64KiB to 16MiB");
    }
    let dir = data_dir(&raw.data_dir);
    let disk = match raw.disk.as_str() {
        "auto" => automatic_disk(&dir),
        text => match bytes(text, "cache.disk", faults) {
            0 => None,
            size if size < LEAST_DISK => {
                faults.push("cache.disk", "must be 0 or at least 64MiB");
                None
            }
            size => Some(size),
        },
    };
    let write_rate = bytes(&raw.disk_write_rate, "cache.disk_write_rate", faults);
    cache::Config {
        memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        disk: disk.map(|bytes| cache::DiskConfig { dir: dir.join("cache"), bytes, write_rate }),
        block_size: u32::try_from(block_size).unwrap_or(1 << 20),
    }
}

fn data_dir(text: &str) -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match text {
        "" => var("XDG_CACHE_HOME")
            .or_else(|| var("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
            .join("millrace"),
        text => PathBuf::from(text),
    }
}

/// What a user who said nothing can spare; what an earlier run has taken already counts as free.
fn automatic_disk(dir: &Path) -> Option<u64> {
    let existing = dir.ancestors().find(|ancestor| ancestor.exists())?;
    let filesystem = rustix::fs::statvfs(existing).ok()?;
    let taken = cache::disk_usage(&dir.join("cache"));
    let spare = (filesystem.f_bavail * filesystem.f_frsize + taken) / 2;
    Some(spare.min(DEFAULT_DISK)).filter(|spare| *spare >= LEAST_DISK)
}

fn fill(raw: &raw::Fill, faults: &mut Faults) -> FillLimits {
    FillLimits {
        read_ahead: bytes(&raw.read_ahead, "fill.read_ahead", faults),
        finish: bytes(&raw.finish_max, "fill.finish_max", faults),
        idle: Duration::from_secs(u64::from(raw.idle_secs)),
        resumes: raw.resumes,
    }
}

fn origins(raw: &[raw::Origin], cdn_loop: &CdnLoop, faults: &mut Faults) -> Vec<OriginSettings> {
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
                let config = s3_settings::resolve(origin, (bucket, prefix), http, key, faults);
                OriginSettings::S3(Box::new(config))
            }
            Spec::Directory(path) => OriginSettings::Directory(directory::Config {
                cache_control: origin.cache_control.clone(),
                follow_symlinks: origin.follow_symlinks,
                ..directory::Config::new(name, path)
            }),
        });
    }
    resolved
}

fn media(raw: &raw::Media, faults: &mut Faults) -> MediaConfig {
    let threads = or_cores(raw.threads);
    let ascending = raw.widths.is_sorted_by(|one, next| one < next);
    if !ascending || raw.widths.iter().any(|width| !(1..=image::MAX_SIDE).contains(width)) {
        faults.push("media.widths", format!("must ascend from 1 to {}", image::MAX_SIDE));
    }
    let max_decode = bytes(&raw.max_decode, "media.max_decode", faults);
    let memory_bytes = bytes(&raw.max_memory, "media.max_memory", faults);
    if memory_bytes < max_decode {
        faults.push("media.max_memory", "is less than media.max_decode");
    }
    MediaConfig {
        pool: pool::Config { threads, queue: if raw.queue == 0 { threads * 16 } else { raw.queue as usize } },
        limits: image::Limits {
            max_source_bytes: bytes(&raw.max_source, "media.max_source", faults),
            max_pixels: u64::from(raw.max_megapixels) * 1_000_000,
            max_output_pixels: u64::from(raw.max_output_megapixels) * 1_000_000,
            max_decode_bytes: max_decode,
            max_frames: raw.max_frames,
            max_animation_pixels: u64::from(raw.max_animation_megapixels) * 1_000_000,
        },
        memory_bytes,
        image_timeout: Duration::from_secs(u64::from(raw.image_timeout_secs)),
        improve_after: raw.improve_after,
        lengths: raw.widths.clone().into(),
        segment_target: Duration::from_secs(u64::from(raw.segment_secs)),
        ffmpeg: Ffmpeg::new(&raw.ffmpeg, Duration::from_secs(u64::from(raw.ffmpeg_timeout_secs))),
        ladder: ladder(&raw.ladder, faults),
        encoder: encoder(&raw.encoder, faults),
        encodes: encodes::Config { running: or_cores(raw.encodes), queue: raw.encode_queue as usize },
        ahead: raw.encode_ahead,
        subtitles: subtitles(&raw.subtitles, faults),
    }
}

/// More languages would be more requests to origins than a playlist is worth.
const MAX_LANGUAGES: usize = 32;

fn subtitles(raw: &[String], faults: &mut Faults) -> Arc<[Language]> {
    if raw.len() > MAX_LANGUAGES {
        faults.push("media.subtitles", format!("at most {MAX_LANGUAGES} languages are possible"));
    }
    let mut languages = Vec::with_capacity(raw.len());
    for tag in raw {
        match Language::parse(tag) {
            Some(language) if languages.contains(&language) => {
                faults.push("media.subtitles", format!("{tag:?} is there twice"));
            }
            Some(language) => languages.push(language),
            None => faults.push("media.subtitles", format!("{tag:?} is not a language such as en or pt-BR")),
        }
    }
    languages.into()
}

fn ladder(raw: &[raw::LadderStep], faults: &mut Faults) -> Ladder {
    for (index, step) in raw.iter().enumerate() {
        if !(16..=4320).contains(&step.height) {
            faults.push(format!("media.ladder[{index}].height"), "must be from 16 to 4320");
        }
        if !(32..=200_000).contains(&step.kbps) {
            faults.push(format!("media.ladder[{index}].kbps"), "must be from 32 to 200000");
        }
        if raw[..index].iter().any(|other| other.height == step.height) {
            faults.push(format!("media.ladder[{index}].height"), "is there twice");
        }
    }
    Ladder::new(raw.iter().map(|step| Step { height: step.height, kbps: step.kbps }))
}

fn encoder(name: &str, faults: &mut Faults) -> Option<Choice> {
    match name {
        "auto" => Some(Choice::Auto),
        "off" => None,
        name => {
            let named = Encoder::parse(name);
            if named.is_none() {
                let known = Encoder::ALL.map(Encoder::name).join(", ");
                faults.push("media.encoder", format!("must be auto, off or one of {known}"));
            }
            named.map(Choice::Named)
        }
    }
}

fn coding(raw: &raw::Compression, faults: &mut Faults) -> coding::Rules {
    for (index, text) in raw.types.iter().enumerate() {
        let essence = text.trim_start_matches('*').trim_end_matches('*');
        let whole = text.len() - essence.len() > 1 || essence.len() < 2;
        if whole || essence.contains(['*', ';', ' ']) {
            faults.push(
                format!("compression.types[{index}]"),
                format!("{text:?} is not a media type such as text/css, text/* or *+json"),
            );
        }
    }
    coding::Rules {
        enabled: raw.enabled,
        min_length: bytes(&raw.min_length, "compression.min_length", faults),
        max_length: bytes(&raw.max_length, "compression.max_length", faults),
        types: raw.types.clone(),
    }
}

pub(super) fn or_cores(count: u32) -> usize {
    match count {
        0 => thread::available_parallelism().map_or(1, usize::from),
        count => count as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_origin(url: &str) -> Raw {
        Raw { origins: vec![raw::Origin { url: url.to_owned(), ..Default::default() }], ..Raw::default() }
    }

    #[test]
    fn defaults_with_an_origin_are_good() {
        let settings = resolve(&with_origin("http://127.0.0.1:9000")).unwrap();
        assert_eq!(settings.cache.memory_bytes, 512 << 20);
        assert_eq!(settings.listen.port(), 8080);
    }

    #[test]
    fn every_fault_is_found() {
        let mut raw = with_origin("ftp://x");
        raw.server.listen = "nowhere".to_owned();
        raw.admin.token.0 = "two words".to_owned();
        raw.cache.memory = "lots".to_owned();
        raw.cache.block_size = "3MiB".to_owned();
        raw.media.segment_secs = 0;
        raw.log.filter = "a=b=c".to_owned();
        raw.origins.push(raw::Origin { url: "s3://b".to_owned(), ..Default::default() });
        let found = resolve(&raw).unwrap_err();
        let keys: Vec<_> = found.0.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "server.listen",
                "admin.token",
                "cache.memory",
                "cache.memory",
                "cache.block_size",
                "origins[0].url",
                "origins[1].url",
                "log.filter",
                "media.segment_secs"
            ]
        );
    }

    #[test]
    fn origins_need_distinct_names() {
        let mut raw = with_origin("http://a");
        raw.origins.push(raw::Origin { url: "http://a/prefix".to_owned(), ..Default::default() });
        assert_eq!(resolve(&raw).unwrap_err().0[0].key, "origins[1].name");
    }
}
