//! A changed configuration, taken over while the server runs: who gets in, the routes, the origins and how they are asked. The rest
//! waits for the next start. What is not good changes nothing.

use std::sync::Arc;

use arc_swap::ArcSwap;
use millrace_kit::{
    clock::Clock,
    config::Faults,
    metrics::{self, IntGauge, Registry, catalogue},
};
use serde_json::Value;

use super::open_origin;
use crate::{
    admission::Admission,
    config::{Raw, Settings, UPLOADS, exposed_secrets, raw, resolve, resolve_as, shown},
    delivery::{Delivery, WantedOrigin},
    http::Door,
    origin::{self, CdnLoop},
};

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Faults(#[from] Faults),
    #[error(transparent)]
    Origin(#[from] origin::SetupError),
}

/// What of a running server can change.
pub struct Reload {
    /// In force.
    raw: Raw,
    /// Those of `raw` by their names.
    origins: Vec<(Arc<str>, raw::Origin)>,
    parts: Parts,
    succeeded: IntGauge,
    time: IntGauge,
}

pub(super) struct Parts {
    pub delivery: Arc<Delivery>,
    pub admission: Arc<Admission>,
    pub door: Arc<Door>,
    pub cdn_loop: CdnLoop,
    /// They are taken.
    pub uploads: bool,
    pub clock: Clock,
    /// For those who ask what is in force.
    pub told: Arc<ArcSwap<Value>>,
}

/// Origins as they are written, by their names.
pub(super) fn named(settings: &Settings) -> Vec<(Arc<str>, raw::Origin)> {
    settings.origins.iter().map(|origin| origin.name().clone()).zip(settings.raw.origins.clone()).collect()
}

impl Reload {
    pub(super) fn new(
        raw: Raw,
        origins: Vec<(Arc<str>, raw::Origin)>,
        parts: Parts,
        registry: &Registry,
    ) -> Result<Self, metrics::Error> {
        let gauge = |def| Ok::<_, metrics::Error>(registry.gauge(def)?.with_label_values::<&str>(&[]));
        let succeeded = gauge(&catalogue::CONFIG_RELOAD_SUCCESSFUL)?;
        let time = gauge(&catalogue::CONFIG_RELOAD_TIME)?;
        succeeded.set(1);
        time.set(parts.clock.unix_millis().div_euclid(1000));
        Ok(Self { raw, origins, parts, succeeded, time })
    }

    /// Takes over what is read, and says how that went.
    pub fn take_over(&mut self, read: Result<Raw, Faults>) {
        let applied = read.map_err(Refused::from).and_then(|raw| self.apply(raw));
        self.succeeded.set(i64::from(applied.is_ok()));
        match applied {
            Ok(waiting) => {
                self.time.set(self.parts.clock.unix_millis().div_euclid(1000));
                match waiting.is_empty() {
                    true => tracing::info!("the configuration is read again"),
                    false => tracing::warn!(
                        "the configuration is read again; what has changed in {} waits for the next start",
                        waiting.join(", ")
                    ),
                }
            }
            Err(refused) => {
                tracing::error!("the new configuration is not good, the old one stays: {refused}")
            }
        }
    }

    /// The sections whose changes wait for the next start.
    fn apply(&mut self, raw: Raw) -> Result<Vec<&'static str>, Refused> {
        resolve(&raw)?;
        let now = self.raw.clone();
        let waiting = waiting(&now, &raw);
        let raw = Raw {
            access: raw.access,
            admin: raw::Admin { token: raw.admin.token, ..now.admin },
            retry: raw.retry,
            breaker: raw.breaker,
            origins: raw.origins,
            routes: raw.routes,
            ..now
        };
        // With the rest as it is, it may not be good any more.
        let settings = resolve_as(&raw, self.parts.cdn_loop.clone())?;
        exposed_secrets(&raw).iter().for_each(|exposed| tracing::warn!("{exposed}"));
        if settings.uploads.is_some() != self.parts.uploads {
            let mut faults = Faults::default();
            faults.push("access", "would switch uploads on or off, which waits for the next start");
            return Err(faults.into());
        }
        let origins = named(&settings);
        let asked_alike = raw.retry == self.raw.retry && raw.breaker == self.raw.breaker;
        let mut wanted: Vec<_> =
            settings.uploads.iter().map(|_| WantedOrigin::Kept(UPLOADS.into())).collect();
        let each = origins.iter().zip(settings.origins).zip(settings.members);
        for (((name, written), origin), member) in each {
            let same =
                asked_alike && !has_files(written) && self.origins.contains(&(name.clone(), written.clone()));
            wanted.push(match same {
                true => WantedOrigin::Kept(name.clone()),
                false => WantedOrigin::New(open_origin(origin)?, member),
            });
        }
        self.parts.door.change(settings.door.fronts, &self.parts.clock);
        self.parts.admission.change(settings.access);
        self.parts.delivery.reroute(settings.delivery.routing, wanted);
        self.parts.told.store(Arc::new(shown(&raw)));
        (self.raw, self.origins) = (raw, origins);
        Ok(waiting)
    }
}

/// Whether there is more to an origin than its settings say.
fn has_files(origin: &raw::Origin) -> bool {
    let tls = &origin.tls;
    [&tls.ca_file, &tls.cert_file, &tls.key_file].iter().any(|file| !file.is_empty())
}

/// What differs of what cannot change while the server runs.
fn waiting(now: &Raw, new: &Raw) -> Vec<&'static str> {
    let sections = [
        ("server", now.server != new.server),
        ("tls", now.tls != new.tls),
        ("limits", now.limits != new.limits),
        ("proxies", now.proxies != new.proxies),
        ("admin.hosts", now.admin.hosts != new.admin.hosts),
        ("uploads", now.uploads != new.uploads),
        ("jobs", now.jobs != new.jobs),
        ("cache", now.cache != new.cache),
        ("warm", now.warm != new.warm),
        ("fill", now.fill != new.fill),
        ("media", now.media != new.media),
        ("compression", now.compression != new.compression),
        ("pages", now.pages != new.pages),
        ("log", now.log != new.log),
    ];
    sections.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}
