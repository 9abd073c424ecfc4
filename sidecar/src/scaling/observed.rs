//! A fleet that is only looked at: instances are what metrics say is there, and an aim moves nobody. For groups in `advise`
//! mode, and for replay.

use futures_util::future::BoxFuture;
use millrace_kit::clock::UnixMillis;
use parking_lot::Mutex;

use super::{
    Fleet, FleetView, InstanceState, InstanceView, Unknown,
    signals::{self, Source},
};

pub struct Observed {
    source: Source,
    /// PromQL, one sample per instance that is there.
    query: String,
    view: Mutex<FleetView>,
}

impl Observed {
    pub fn new(source: Source, query: String) -> Self {
        Self { source, query, view: Mutex::new(FleetView::default()) }
    }

    async fn look(&self, now: UnixMillis) {
        let found = signals::instances(&self.source, &self.query, now).await;
        let mut view = self.view.lock();
        match found {
            // Before the first scrape, or with a query that finds nobody, nothing can be said.
            Ok(names) if names.is_empty() => {
                (view.reachable, view.error) = (false, Some("no instance is known".to_owned()));
            }
            Ok(names) => {
                let since = |name: &str| {
                    view.instances.iter().find(|known| known.name == name).map(|known| known.since)
                };
                let instances = names.into_iter().map(|name| InstanceView {
                    since: since(&name).unwrap_or(now),
                    name,
                    data_url: String::new(),
                    admin_url: String::new(),
                    state: InstanceState::Ready,
                    warm_ratio: None,
                    streams: None,
                    note: "only looked at".to_owned(),
                });
                let instances: Vec<_> = instances.collect();
                let aim = u32::try_from(instances.len()).unwrap_or(u32::MAX);
                *view = FleetView { instances, aim, reachable: true, converging: false, error: None };
            }
            Err(error) => (view.reachable, view.error) = (false, Some(error)),
        }
    }
}

impl Fleet for Observed {
    fn view(&self) -> FleetView {
        self.view.lock().clone()
    }

    fn aim(&self, _desired: u32) {}

    fn drain(&self, name: &str) -> Result<(), Unknown> {
        Err(Unknown(name.to_owned()))
    }

    fn step(&self, now: UnixMillis) -> BoxFuture<'_, ()> {
        Box::pin(self.look(now))
    }
}
