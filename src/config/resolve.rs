//! From raw settings to what the parts are built from; everything that does not fit is collected.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use bytesize::ByteSize;
use millrace_kit::{config::Faults, telemetry};

use super::{
    Raw, access, edge,
    jobs::{self, JobSettings},
    raw, retry,
    uploads::{self, ORIGIN, UploadSettings},
    warm,
};
use crate::{
    acme, admission,
    cache::{Config as CacheConfig, storable::Rules},
    delivery::{self, FillLimits, coding, sandbox::Svg},
    http,
    origin::{CdnLoop, directory, http::Config as HttpOrigin, member, s3},
};

mod cache;
mod images;
mod media;
mod origins;
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
    pub cache: CacheConfig,
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
    let cache = cache::cache(&raw.cache, &mut faults);
    let warm = warm::resolve(&raw.warm, &mut faults);
    let fill = fill(&raw.fill, &mut faults);
    if raw.origins.is_empty() && uploads.is_none() {
        faults.push("origins", "none is given: pass --origin URL or add [[origins]]");
    }
    let origins = origins::origins(&raw.origins, &cdn_loop, &mut faults);
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
    let media = media::media(&raw.media, &mut faults);
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

fn fill(raw: &raw::Fill, faults: &mut Faults) -> FillLimits {
    FillLimits {
        read_ahead: bytes(&raw.read_ahead, "fill.read_ahead", faults),
        finish: bytes(&raw.finish_max, "fill.finish_max", faults),
        idle: Duration::from_secs(u64::from(raw.idle_secs)),
        resumes: raw.resumes,
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

    #[test]
    fn what_an_origin_takes_off_is_checked_and_taken_over_whatever_its_kind() {
        for url in ["http://a", "s3://media", "/"] {
            let mut raw = with_origin(url);
            raw.origins[0].strip_prefix = "a".to_owned();
            assert_eq!(resolve(&raw).unwrap_err().0[0].key, "origins[0].strip_prefix", "{url}");
            raw.origins[0].strip_prefix = "/a".to_owned();
            let (own, sent) = match resolve(&raw).unwrap().origins.remove(0) {
                OriginSettings::Http(config) => (config.strip_prefix.clone(), "/a".to_owned()),
                OriginSettings::S3(config) => (config.strip_prefix.clone(), config.http.strip_prefix.clone()),
                OriginSettings::Directory(config) => (config.strip_prefix, String::new()),
            };
            assert_eq!(own, "/a", "{url}");
            assert_eq!(sent == "/a", url == "http://a", "what is signed stays as it is: {url}");
        }
    }
}
