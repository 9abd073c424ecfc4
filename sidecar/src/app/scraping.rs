//! Runs the scrapes: one loop per target, each in its own rhythm.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use millrace_kit::{
    clock::{Clock, UnixMillis},
    tasks::Tasks,
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Error, Instruments, Reporter};
use crate::{
    collect::Collector,
    discovery::{Source, Target},
    model::Labels,
    scrape::{self, Client, Fetched, Roster, Schedule, Session, Settings},
    series::Store,
};

pub struct Scraping {
    settings: Settings,
    client: Client,
    /// Static and found ones.
    jobs: Mutex<Vec<Job>>,
    sources: Vec<Source>,
    store: Arc<Store>,
    pub roster: Arc<Roster>,
    clock: Clock,
    instruments: Arc<Instruments>,
    reporter: Arc<Reporter>,
}

/// The scraping of one target.
#[derive(Clone)]
struct Job {
    target: Arc<Target>,
    session: Arc<Mutex<Session>>,
    /// Asks for the metrics; none: they come over HTTP.
    collector: Option<Arc<Collector>>,
    /// Which source named it; none for static ones.
    source: Option<usize>,
    stop: CancellationToken,
}

/// What is scraped.
pub(super) struct Subjects {
    pub(super) targets: Vec<Target>,
    pub(super) collectors: Vec<(Arc<Collector>, Target)>,
    pub(super) sources: Vec<Source>,
}

impl Scraping {
    pub(super) fn new(
        subjects: Subjects,
        settings: Settings,
        store: Arc<Store>,
        roster: Arc<Roster>,
        clock: Clock,
        instruments: Arc<Instruments>,
        reporter: Arc<Reporter>,
    ) -> Result<Self, Error> {
        let client = Client::new(&settings)?;
        let scraping = Self {
            settings,
            client,
            jobs: Mutex::new(Vec::new()),
            sources: subjects.sources,
            store,
            roster,
            clock,
            instruments,
            reporter,
        };
        for target in subjects.targets {
            scraping.add(target, None, None);
        }
        for (collector, target) in subjects.collectors {
            scraping.add(target, Some(collector), None);
        }
        Ok(scraping)
    }

    fn add(&self, target: Target, collector: Option<Arc<Collector>>, source: Option<usize>) -> Job {
        let target = Arc::new(target);
        self.roster.add(target.clone());
        let session = Arc::new(Mutex::new(Session::new(target.clone(), self.settings)));
        let job = Job { target, session, collector, source, stop: CancellationToken::new() };
        self.jobs.lock().push(job.clone());
        job
    }

    pub(super) fn spawn(self: &Arc<Self>, tasks: &Tasks) {
        for job in self.jobs.lock().clone() {
            self.spawn_job(tasks, job);
        }
        for (index, source) in self.sources.iter().enumerate() {
            let (scraping, spawner) = (self.clone(), tasks.clone());
            let refresh = Duration::from_secs(source.config.refresh_secs.max(1));
            tasks.spawn_until_stop("discovery", async move {
                loop {
                    for job in scraping.discover(index).await {
                        scraping.spawn_job(&spawner, job);
                    }
                    tokio::time::sleep(refresh).await;
                }
            });
        }
    }

    fn spawn_job(self: &Arc<Self>, tasks: &Tasks, job: Job) {
        let scraping = self.clone();
        tasks.spawn_until_stop("scrape", async move {
            job.stop.run_until_cancelled(scraping.keep(&job)).await;
        });
    }

    /// Asks every source once.
    pub async fn discover_all(&self) {
        for index in 0..self.sources.len() {
            self.discover(index).await;
        }
    }

    /// Ends the targets that the source does not name any more; returns those that are new. A source that fails changes
    /// nothing.
    async fn discover(&self, index: usize) -> Vec<Job> {
        let source = &self.sources[index];
        let found = match source.finder.look().await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(job = source.config.job, "discovery failed: {error}; the targets stay");
                return Vec::new();
            }
        };
        let mut wanted: BTreeMap<(String, Labels), Target> = BTreeMap::new();
        for labels in &found {
            match source.target(labels) {
                Ok(Some(target)) => {
                    wanted.insert((target.url.to_string(), target.labels.clone()), target);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(job = source.config.job, "discovered target: {error}"),
            }
        }
        let at = self.clock.unix_millis();
        let mut gone = Vec::new();
        self.jobs.lock().retain(|job| {
            let stays = job.source != Some(index)
                || wanted.remove(&(job.target.url.to_string(), job.target.labels.clone())).is_some();
            if !stays {
                gone.push(job.clone());
            }
            stays
        });
        for job in gone {
            job.stop.cancel();
            self.roster.remove(&job.target);
            self.reporter.target_gone(&job.target);
            job.session.lock().end(&*self.store, at);
        }
        wanted.into_values().map(|target| self.add(target, None, Some(index))).collect()
    }

    /// Every target once, all with the time of now.
    pub async fn scrape_all(&self) {
        let at = self.clock.unix_millis();
        let jobs = self.jobs.lock().clone();
        for job in jobs {
            self.scrape(&job, at).await;
        }
    }

    async fn keep(&self, job: &Job) {
        // The first at once, so that a start is seen soon; from then on in the target's own rhythm.
        let schedule = Schedule::new(self.settings.interval, job.target.url.as_str());
        self.scrape(job, self.clock.unix_millis()).await;
        loop {
            let now = self.clock.unix_millis();
            let due = schedule.next(now);
            let wait = u64::try_from(due.saturating_sub(now)).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            self.scrape(job, due).await;
        }
    }

    async fn scrape(&self, job: &Job, at: UnixMillis) {
        let target = &*job.target;
        let started = std::time::Instant::now();
        let fetched = match &job.collector {
            None => self.client.get(&target.url).await,
            Some(collector) => self.collect(collector).await,
        };
        let duration = started.elapsed();
        let (session, store) = (job.session.clone(), self.store.clone());
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
        self.reporter.scraped(target, &report);
        self.roster.record(target, report);
    }

    async fn collect(&self, collector: &Collector) -> Result<Fetched, scrape::Error> {
        let timeout = self.settings.timeout;
        let collected = tokio::time::timeout(timeout, collector.collect()).await;
        let collected = collected.map_err(|_| scrape::Error::Timeout(timeout))?;
        collected.map(Fetched::text).map_err(|error| scrape::Error::Collector(error.to_string()))
    }
}
