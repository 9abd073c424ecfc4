//! Runs the scrapes: one loop per target, each in its own rhythm.

use std::{sync::Arc, time::Duration};

use millrace_kit::{
    clock::{Clock, UnixMillis},
    tasks::Tasks,
};
use parking_lot::Mutex;

use super::{Error, Instruments};
use crate::{
    discovery::Target,
    scrape::{Client, Roster, Schedule, Session, Settings},
    series::Store,
};

pub struct Scraping {
    settings: Settings,
    client: Client,
    targets: Vec<(Arc<Target>, Arc<Mutex<Session>>)>,
    store: Arc<Store>,
    pub roster: Arc<Roster>,
    clock: Clock,
    instruments: Arc<Instruments>,
}

impl Scraping {
    pub(super) fn new(
        targets: Vec<Target>,
        settings: Settings,
        store: Arc<Store>,
        roster: Arc<Roster>,
        clock: Clock,
        instruments: Arc<Instruments>,
    ) -> Result<Self, Error> {
        let client = Client::new(&settings)?;
        let session = |target: Target| {
            let target = Arc::new(target);
            roster.add(target.clone());
            (target.clone(), Arc::new(Mutex::new(Session::new(target, settings))))
        };
        let targets = targets.into_iter().map(session).collect();
        Ok(Self { settings, client, targets, store, roster, clock, instruments })
    }

    pub(super) fn spawn(self: &Arc<Self>, tasks: &Tasks) {
        for (target, session) in self.targets.clone() {
            let scraping = self.clone();
            tasks.spawn_until_stop("scrape", async move { scraping.keep(&target, &session).await });
        }
    }

    /// Every target once, all with the time of now.
    pub async fn scrape_all(&self) {
        let at = self.clock.unix_millis();
        for (target, session) in &self.targets {
            self.scrape(target, session, at).await;
        }
    }

    async fn keep(&self, target: &Target, session: &Arc<Mutex<Session>>) {
        // The first at once, so that a start is seen soon; from then on in the target's own rhythm.
        let schedule = Schedule::new(self.settings.interval, target.url.as_str());
        self.scrape(target, session, self.clock.unix_millis()).await;
        loop {
            let now = self.clock.unix_millis();
            let due = schedule.next(now);
            let wait = u64::try_from(due.saturating_sub(now)).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            self.scrape(target, session, due).await;
        }
    }

    async fn scrape(&self, target: &Target, session: &Arc<Mutex<Session>>, at: UnixMillis) {
        let started = std::time::Instant::now();
        let fetched = self.client.get(&target.url).await;
        let duration = started.elapsed();
        let (session, store) = (session.clone(), self.store.clone());
        // Parsing megabytes is no work for the threads that answer requests.
        let recorded =
            tokio::task::spawn_blocking(move || session.lock().record(&*store, at, fetched, duration));
        let Ok(report) = recorded.await else { return };
        let before = self.roster.error_of(target);
        match (&report.error, before) {
            (Some(error), before) if before.as_deref() != Some(error) => {
                tracing::warn!(target = target.instance(), job = target.job(), "scrape failed: {error}");
            }
            (None, Some(_)) => {
                tracing::info!(target = target.instance(), job = target.job(), "scrape works again")
            }
            _ => {}
        }
        self.instruments.scraped(target.job(), &report);
        self.roster.record(target, report);
    }
}
