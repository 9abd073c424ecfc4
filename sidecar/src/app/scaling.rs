//! Runs the scaling of each group: the fleet's own work every second, decisions in the policy's rhythm.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use millrace_kit::{
    clock::Clock,
    config::{Fault, Faults},
    tasks::Tasks,
};
use serde_json::{Value, json};

use super::{Error, Instruments};
use crate::{
    config, discovery,
    model::time::rfc3339,
    scaling::{self, Bounds, Conductor, Controller, Event, Fleet, Group, Observed, Policies, Policy, Source},
    scrape::Schedule,
    series::Store,
};

const STEP_EVERY: Duration = Duration::from_secs(1);

/// Told of what happens, by kind.
pub type Publish = Arc<dyn Fn(&'static str, Value) + Send + Sync>;

pub struct Scaling {
    pub controller: Arc<Controller>,
    settings: config::Scaling,
    data_dir: PathBuf,
    /// Of the groups that are acted on.
    conductors: BTreeMap<String, Arc<Conductor>>,
    clock: Clock,
    instruments: Arc<Instruments>,
}

impl Scaling {
    pub(super) fn new(
        settings: &config::Scaling,
        fleets: &Fleets,
        data_dir: &Path,
        store: Arc<Store>,
        clock: Clock,
        instruments: Arc<Instruments>,
        publish: Publish,
    ) -> Result<Self, Error> {
        let source = match &settings.policies.prometheus {
            None => Source::own(store),
            Some(base) => Source::prometheus(base).map_err(Error::Scaling)?,
        };
        let bounds = Bounds { folder: data_dir.join("scaling"), bytes: settings.journal_bytes };
        let mut groups = Vec::new();
        for policy in &settings.policies.groups {
            let fleet = fleets.of(policy, &source);
            let listener = Arc::new(listener(instruments.clone(), publish.clone()));
            groups.push(Arc::new(Group::new(policy.clone(), fleet, source.clone(), &bounds, listener)));
        }
        Ok(Self {
            controller: Arc::new(Controller::new(groups)),
            settings: settings.clone(),
            data_dir: data_dir.to_owned(),
            conductors: fleets.by_group.clone(),
            clock,
            instruments,
        })
    }

    /// Reads the policy anew. A faulty one changes nothing, nor does one that would have other groups, or other actuators and
    /// balancers: these are built at the start.
    pub fn reload(&self) -> Result<(), Faults> {
        let file = self.settings.file.as_str();
        if file.is_empty() {
            return Ok(());
        }
        let policies = scaling::load(file, &self.data_dir, self.settings.scrape_interval)?;
        let mut faults = Faults::default();
        for (key, message) in self.obstacles(&policies) {
            faults.0.push(Fault { place: file.to_owned(), key, message });
        }
        let policies = faults.into_result(policies)?;
        for (group, settings) in policies.fleets {
            if let Some(conductor) = self.conductors.get(&group) {
                conductor.adjust(settings);
            }
        }
        for policy in policies.groups {
            if let Ok(group) = self.controller.group(&policy.name) {
                group.adopt(policy);
            }
        }
        tracing::info!(file, "scaling policy read anew");
        Ok(())
    }

    /// What only a start can change, by its key.
    fn obstacles(&self, policies: &Policies) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut refuse =
            |key: String, what: &str| found.push((key, format!("{what} when the sidecar starts")));
        if policies.prometheus != self.settings.policies.prometheus {
            refuse("prometheus".to_owned(), "is only changed");
        }
        for group in self.controller.groups() {
            if !policies.groups.iter().any(|policy| policy.name == group.name) {
                refuse(
                    "groups".to_owned(),
                    &format!("{:?} is not there any more; groups only go", group.name),
                );
            }
        }
        for (index, policy) in policies.groups.iter().enumerate() {
            let key = format!("groups[{index}]");
            let Ok(group) = self.controller.group(&policy.name) else {
                refuse(format!("{key}.name"), &format!("{:?} is new; groups only come", policy.name));
                continue;
            };
            if policy.act != group.policy().act {
                refuse(format!("{key}.mode"), "is only changed");
            }
            let fleet = self.conductors.get(&policy.name).zip(policies.fleets.get(&policy.name));
            for part in fleet.map(|(conductor, wanted)| conductor.fixed(wanted)).unwrap_or_default() {
                refuse(format!("{key}.fleet.{part}"), "is only changed");
            }
        }
        found
    }

    pub(super) fn spawn(&self, tasks: &Tasks) {
        for group in self.controller.groups() {
            let (stepped, clock) = (group.clone(), self.clock.clone());
            let stopping = tasks.stopping();
            // What a round has written down is done before the sidecar ends.
            tasks.spawn("fleet", async move {
                while !stopping.is_cancelled() {
                    stepped.step(clock.unix_millis()).await;
                    stopping.run_until_cancelled(tokio::time::sleep(STEP_EVERY)).await;
                }
            });
            let (decided, clock) = (group.clone(), self.clock.clone());
            tasks.spawn_until_stop("scaling", async move { decide(&decided, &clock).await });
        }
    }

    /// Every group once, with the time of now.
    pub async fn tick_all(&self) {
        let now = self.clock.unix_millis();
        for group in self.controller.groups() {
            group.step(now).await;
            group.tick(now).await;
        }
    }

    pub(super) fn observe(&self) {
        self.instruments.observe_scaling(&self.controller, self.clock.unix_millis());
    }
}

async fn decide(group: &Arc<Group>, clock: &Clock) {
    let mut last = clock.unix_millis();
    loop {
        let schedule = Schedule::new(group.policy().interval(), &format!("scaling/{}", group.name));
        let now = clock.unix_millis();
        let missed = schedule.missed(last, now);
        if missed > 0 {
            tracing::warn!(group = group.name, missed, "decisions take longer than their interval");
        }
        last = now;
        let wait = u64::try_from(schedule.next(now).saturating_sub(now)).unwrap_or(0);
        // What is decided by hand does not wait.
        let _ = tokio::time::timeout(Duration::from_millis(wait), group.nudged()).await;
        group.tick(clock.unix_millis()).await;
    }
}

/// The fleets that are acted on, by the name of their group; and where their instances are found, to be scraped.
pub struct Fleets {
    by_group: BTreeMap<String, Arc<Conductor>>,
    pub sources: Vec<discovery::Source>,
}

impl Fleets {
    /// Goes on with what the last run has left. Nothing is started or stopped yet.
    pub(super) fn open(settings: &config::Scaling) -> Result<Self, Error> {
        let mut fleets = Self { by_group: BTreeMap::new(), sources: Vec::new() };
        for (group, settings) in &settings.policies.fleets {
            let conductor = Conductor::new(settings)?;
            fleets.sources.push(conductor.source()?);
            fleets.by_group.insert(group.clone(), Arc::new(conductor));
        }
        Ok(fleets)
    }

    fn of(&self, policy: &Policy, source: &Source) -> Arc<dyn Fleet> {
        let observed = || Arc::new(Observed::new(source.clone(), policy.instances.clone())) as Arc<dyn Fleet>;
        self.by_group.get(&policy.name).map_or_else(observed, |conductor| conductor.clone() as Arc<dyn Fleet>)
    }
}

fn listener(instruments: Arc<Instruments>, publish: Publish) -> Box<dyn Fn(Event<'_>) + Send + Sync> {
    Box::new(move |event| match event {
        Event::Decision(decision) => {
            instruments.decided(decision);
            publish("decision", serde_json::to_value(decision).unwrap_or_default());
        }
        Event::Instance { group, instance } => {
            let mut shown = json!(instance);
            shown["since"] = json!(rfc3339(instance.since));
            publish("instance", json!({ "group": group, "instance": shown }));
        }
    })
}
