//! A fleet as a whole: processes behind a real HAProxy that is asked all the time, while instances come, leave and die.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use millrace_kit::{clock::Clock, tasks::Tasks};
use millrace_sidecar::scaling::fleet::{Conductor, InstanceState, InstanceView};

use super::{Home, client, haproxy::Haproxy, kill_nine, ports, processes, settings, stand_in, until};

struct Fleet {
    home: Home,
    conductor: Arc<Conductor>,
    tasks: Tasks,
}

impl Fleet {
    fn start(home: Home, toml: &str) -> Self {
        let conductor = Arc::new(Conductor::new(&settings(home.path(), toml)).unwrap());
        let (tasks, stepped) = (Tasks::new(), conductor.clone());
        tasks.spawn_until_stop("rounds", async move {
            loop {
                stepped.step(Clock::System.unix_millis()).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Self { home, conductor, tasks }
    }

    fn count(&self, state: InstanceState) -> usize {
        self.conductor.view().instances.iter().filter(|one| one.state == state).count()
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join("scaling/instances").join(name).join("log")).unwrap()
    }

    async fn until_ready(&self, count: usize) -> Vec<InstanceView> {
        until(&format!("{count} ready and no more"), async || {
            let view = self.conductor.view();
            let all = view.instances.len();
            (self.count(InstanceState::Ready) == count && all == count && !view.converging)
                .then_some(view.instances)
        })
        .await
    }
}

/// Asks until it is told to stop, and counts what failed.
struct Load {
    tasks: Tasks,
    failed: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Load {
    fn start(url: &str) -> Self {
        let load =
            Self { tasks: Tasks::new(), failed: Arc::default(), asked: Arc::default(), over: Arc::default() };
        for _ in 0..4 {
            let (failed, asked, over) = (load.failed.clone(), load.asked.clone(), load.over.clone());
            let (http, url) = (client(), url.to_owned());
            load.tasks.spawn("load", async move {
                while !over.load(Ordering::Relaxed) {
                    let answer = http.get(&url).send().await;
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !answer.is_ok_and(|answer| answer.status() == 200) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        load
    }

    async fn end(self) -> (usize, usize) {
        self.over.store(true, Ordering::Relaxed);
        self.tasks.drain(Duration::from_secs(20)).await;
        (self.asked.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_leave_and_die_without_a_failed_request() {
    let home = Home::new();
    let balancer = Haproxy::start(home.path()).await;
    let toml = format!("{}{}", balancer.toml(), stand_in::process(ports(), "good"));
    let fleet = Fleet::start(home, &toml);
    fleet.conductor.aim(2);
    fleet.until_ready(2).await;
    let load = Load::start(&balancer.url());

    fleet.conductor.aim(4);
    let grown = fleet.until_ready(4).await;
    let notes: Vec<_> = grown.iter().map(|one| (one.note.as_str(), one.warm_ratio)).collect();
    assert_eq!(notes[2..], [("warmed with 7 bytes", Some(0.9)); 2], "{notes:?}");

    let (name, pid) = processes(fleet.home.path())[1].clone();
    kill_nine(pid);
    until("its replacement", async || {
        let now = processes(fleet.home.path());
        now.iter().any(|(other, new)| *other == name && *new != pid).then_some(())
    })
    .await;
    fleet.until_ready(4).await;

    fleet.conductor.aim(2);
    let stayed = fleet.until_ready(2).await;
    assert_eq!(processes(fleet.home.path()).len(), 2);
    // What only those that left had is with those that stayed.
    let logs: String = stayed.iter().map(|one| fleet.log(&one.name)).collect();
    for gone in grown.iter().filter(|one| !stayed.iter().any(|other| other.name == one.name)) {
        let told = format!(r#""objects":["of {}"]"#, gone.name);
        assert!(
            logs.lines().any(|line| line.contains(&told) && line.contains(&gone.admin_url)),
            "{told}\n{logs}"
        );
    }
    assert!(!logs.contains(r#""objects":["all"#), "{logs}");
    let left = fleet.conductor.view().instances[0].name.clone();
    assert!(fleet.conductor.drain("edge-99").is_err());
    fleet.conductor.drain(&left).unwrap();
    let last = fleet.until_ready(1).await;
    assert_eq!(fleet.conductor.view().aim, 1);
    let (asked, failed) = load.end().await;
    assert!(asked > 100, "{asked}");
    assert_eq!(failed, 0, "of {asked}");

    // The instances are targets of scraping.
    let source = fleet.conductor.source().unwrap();
    let found = source.finder.look().await.unwrap();
    let target = source.target(&found[0]).unwrap().unwrap();
    assert_eq!(target.url.as_str(), format!("{}/metrics", last[0].admin_url));
    assert_eq!((target.job(), target.labels.get("group"), found.len()), ("millrace", "edge", 1));
    fleet.conductor.aim(0);
    fleet.until_ready(0).await;
    assert!(processes(fleet.home.path()).is_empty());
    fleet.tasks.drain(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_start_is_given_up_with_its_last_words() {
    let toml = format!("crash_limit = 2\n{}", stand_in::process(ports(), "dies"));
    let fleet = Fleet::start(Home::new(), &toml);
    fleet.conductor.aim(1);
    until("failed", async || (fleet.count(InstanceState::Failed) == 1).then_some(())).await;
    let view = fleet.conductor.view();
    let note = &view.instances[0].note;
    assert!(note.starts_with("crashed 2 times in a row, at last: exit status: 64"), "{note}");
    assert!(note.contains("no origin is configured"), "{note}");
    until("the error", async || fleet.conductor.view().error.filter(|error| error.contains("no origin")))
        .await;
    fleet.conductor.aim(0);
    fleet.until_ready(0).await;
    fleet.tasks.drain(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_begun_that_is_not_written_down() {
    let home = Home::new();
    let conductor = Conductor::new(&settings(home.path(), &stand_in::process(ports(), "good"))).unwrap();
    // No file can take the place of a directory.
    let file = home.path().join("scaling/edge.json");
    std::fs::create_dir(&file).unwrap();
    conductor.aim(1);
    let now = Clock::System.unix_millis();
    for round in 0..3 {
        conductor.step(now + round).await;
        assert!(conductor.view().error.is_some_and(|error| error.contains("could not be saved")));
        assert!(processes(home.path()).is_empty());
    }
    std::fs::remove_dir(&file).unwrap();
    conductor.step(now + 4).await;
    assert_eq!((conductor.view().error, processes(home.path()).len()), (None, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_is_said_and_nothing_is_done() {
    let home = Home::new();
    let toml = "actuator = 'docker'\ndocker.engine = 'unix:///nowhere/docker.sock'";
    let conductor = Conductor::new(&settings(home.path(), toml)).unwrap();
    conductor.aim(2);
    conductor.step(Clock::System.unix_millis()).await;
    let view = conductor.view();
    assert!(!view.reachable && view.converging && view.instances.is_empty());
    assert!(view.error.is_some_and(|error| error.contains("/nowhere/docker.sock")));
    assert_eq!(view.aim, 2);
}
