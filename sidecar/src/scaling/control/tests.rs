//! Groups over a fleet that is played: decisions reach it, survive restarts, and people come in between.

use futures_util::future::BoxFuture;

use super::*;
use crate::{
    model::{INSTANCE, Labels, METRIC_NAME, Sample},
    scaling::{
        Unknown,
        decide::tests::{START, policy},
        decision::{Action, Binding},
    },
    scrape::Sink,
    series::{self, Store},
};

/// Obeys at once.
struct Played(Mutex<FleetView>);

impl Played {
    fn new(instances: u32) -> Arc<Self> {
        let played = Arc::new(Self(Mutex::new(FleetView { reachable: true, ..FleetView::default() })));
        played.aim(instances);
        played
    }
}

impl Fleet for Played {
    fn view(&self) -> FleetView {
        self.0.lock().clone()
    }

    fn aim(&self, desired: u32) {
        let mut view = self.0.lock();
        view.aim = desired;
        view.instances = (0..desired)
            .map(|number| InstanceView {
                name: format!("g-{number}"),
                data_url: String::new(),
                admin_url: format!("http://10.0.0.{number}:81/"),
                state: InstanceState::Ready,
                since: START,
                warm_ratio: None,
                streams: None,
                note: String::new(),
            })
            .collect();
    }

    fn drain(&self, name: &str) -> Result<(), Unknown> {
        let mut view = self.0.lock();
        let at = view
            .instances
            .iter()
            .position(|known| known.name == name)
            .ok_or_else(|| Unknown(name.to_owned()))?;
        view.instances.remove(at);
        view.aim -= 1;
        Ok(())
    }

    fn step(&self, _now: UnixMillis) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

struct Rig {
    folder: tempfile::TempDir,
    store: Arc<Store>,
    fleet: Arc<Played>,
    told: Arc<Mutex<Vec<String>>>,
    group: Arc<Group>,
    now: UnixMillis,
}

const RULES: &str = "max = 6\nstartup_hold_secs = 30\nup_cooldown_secs = 120\nstabilization_secs = 60
up = [{ signal = 'cpu', above = 0.75, for_secs = 15 }]\ndown = [{ signal = 'cpu', below = 0.35, for_secs = 15 }]";

impl Rig {
    fn new(instances: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::new(series::Bounds::new(&series::Config::default(), 1 << 20)));
        let (fleet, told) = (Played::new(instances), Arc::new(Mutex::new(Vec::new())));
        let group = group(&folder, &store, &fleet, &told);
        Self { folder, store, fleet, told, group, now: START }
    }

    /// A new process.
    fn restart(&mut self) {
        self.group = group(&self.folder, &self.store, &self.fleet, &self.told);
    }

    async fn then(&mut self, cpu: f64) -> Decision {
        self.now += 15_000;
        for number in 0..10 {
            let instance = format!("10.0.0.{number}:81");
            let labels = Labels::from_pairs([(METRIC_NAME, "cpu"), (INSTANCE, &instance)]);
            self.store.append(&[(self.store.intern(&labels).unwrap(), Sample { at: self.now, value: cpu })]);
        }
        self.group.step(self.now).await;
        self.group.tick(self.now).await.unwrap()
    }
}

fn group(
    folder: &tempfile::TempDir,
    store: &Arc<Store>,
    fleet: &Arc<Played>,
    told: &Arc<Mutex<Vec<String>>>,
) -> Arc<Group> {
    let mut policy = policy(RULES);
    policy.signals.retain(|signal| signal.name == "cpu");
    policy.signals[0].expr = "avg(cpu{instance=~\"$ready\"})".to_owned();
    let told = told.clone();
    let listener: Listener = Box::new(move |event| {
        told.lock().push(match event {
            Event::Decision(decision) => format!("{} {}", decision.action.as_str(), decision.to),
            Event::Instance { instance, .. } => format!("{} {}", instance.name, instance.state.as_str()),
        });
    });
    let bounds = Bounds { folder: folder.path().to_owned(), bytes: 1 << 20 };
    Arc::new(Group::new(policy, fleet.clone(), Source::own(store.clone()), &bounds, Arc::new(listener)))
}

#[tokio::test]
async fn decisions_reach_the_fleet_and_those_who_listen() {
    let mut rig = Rig::new(2);
    assert_eq!(rig.then(0.9).await.binding, Binding::Startup);
    rig.then(0.9).await;
    assert_eq!(rig.then(0.9).await.action, Action::Up);
    assert_eq!(rig.fleet.view().aim, 3);
    rig.then(0.5).await;
    let told = rig.told.lock().clone();
    assert_eq!(told, ["g-0 ready", "g-1 ready", "hold 2", "hold 2", "up 3", "g-2 ready", "hold 3"]);
}

#[tokio::test]
async fn a_restart_forgets_neither_cooldowns_nor_overrides_nor_decisions() {
    let mut rig = Rig::new(2);
    for _ in 0..3 {
        rig.then(0.9).await;
    }
    let changed = rig.group.last_change();
    assert_eq!(rig.fleet.view().aim, 3);
    rig.restart();
    assert_eq!(rig.group.last_change(), changed);
    assert_eq!(rig.group.decisions(10, |_| true).len(), 3);
    // The hold begins anew, and after it the cooldown goes on.
    let bindings = [rig.then(0.9).await.binding, rig.then(0.9).await.binding, rig.then(0.9).await.binding];
    assert_eq!(bindings, [Binding::Startup, Binding::Startup, Binding::CooldownUp]);

    let manual = Override {
        desired: Some(5),
        pause: false,
        by: "ops".to_owned(),
        reason: "match day".to_owned(),
        until: rig.now + 600_000,
    };
    rig.group.set_override(manual.clone(), rig.now).await.unwrap();
    rig.restart();
    assert_eq!(rig.group.view(rig.now).manual, Some(manual));
    let decision = rig.then(0.1).await;
    assert_eq!((decision.to, decision.binding), (5, Binding::Override));
    // Once more: what is in force goes through the inputs of decisions too.
    rig.restart();
    assert_eq!(rig.group.view(rig.now).mode, Mode::Override);
    rig.group.end_override("ops".to_owned(), rig.now).await.unwrap();
    rig.restart();
    assert_eq!(rig.group.view(rig.now).mode, Mode::Auto);
    assert_eq!(rig.group.view(START + 86_400_000).mode, Mode::Auto);
}

#[tokio::test]
async fn what_people_ask_for_is_checked() {
    let rig = Rig::new(2);
    let ask = |desired, pause, seconds: i64| Override {
        desired,
        pause,
        by: "ops".to_owned(),
        reason: String::new(),
        until: rig.now + seconds * 1000,
    };
    for (wanted, said) in [
        (ask(Some(7), false, 60), "7 is not between 1 and 6"),
        (ask(Some(2), true, 60), "say either"),
        (ask(None, false, 60), "say `desired` or `pause`"),
        (ask(None, true, 0), "`seconds` must be from 1 to 86400"),
        (ask(None, true, 86_401), "`seconds` must be"),
    ] {
        let refused = rig.group.set_override(wanted, rig.now).await.unwrap_err();
        assert!(refused.to_string().starts_with(said), "{refused}");
    }
}

#[tokio::test]
async fn an_instance_leaves_by_hand_and_that_counts() {
    let mut rig = Rig::new(3);
    rig.then(0.5).await;
    rig.then(0.5).await;
    let now = rig.now;
    let unknown = rig.group.drain("g-9", "ops".to_owned(), now).await.unwrap_err();
    assert_eq!(unknown.to_string(), "group \"g\" has no instance \"g-9\" that could leave");
    rig.group.drain("g-1", "ops".to_owned(), now).await.unwrap();
    let decision = rig.then(0.5).await;
    assert_eq!((decision.from, decision.to, rig.group.last_change()), (2, 2, Some(rig.now)));
}

#[tokio::test]
async fn signals_that_nobody_tells_change_nothing() {
    let mut rig = Rig::new(3);
    for _ in 0..5 {
        rig.then(0.5).await;
    }
    rig.now += 60_000;
    let decision = rig.group.tick(rig.now).await.unwrap();
    assert_eq!((decision.to, decision.binding), (3, Binding::Unknown));
    assert_eq!(decision.reason, "cpu is 60 s old, more than 45 s");
}
