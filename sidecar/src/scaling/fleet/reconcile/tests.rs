//! The rounds of a fleet against a small world that answers as told. Each test says what happens there.

use std::{collections::BTreeSet, path::Path};

use millrace_kit::config::Faults;
use proptest::prelude::*;

use super::*;
use crate::scaling::fleet::{
    Config,
    actuator::Running,
    balancer::{Seat, Seats},
    edge::Warmth,
};

mod counted;

/// Runs what it is told to run, and knows how ready each instance is.
#[derive(Default)]
struct World {
    now: UnixMillis,
    book: Book,
    running: BTreeSet<String>,
    not_ready: BTreeSet<String>,
    silent: BTreeSet<String>,
    warmth: BTreeMap<String, Warmth>,
    streams: BTreeMap<String, u64>,
    worth: BTreeMap<String, Worth>,
    seats: Seats,
    /// Whether there is a balancer, and whether it answers.
    balancer: Option<bool>,
    /// Who takes what a leaving instance has.
    takers: Vec<String>,
    /// Does not end when it is asked to.
    stubborn: bool,
    starts: u32,
}

fn settings(toml: &str) -> Settings {
    let config: Config = toml::from_str(toml).unwrap();
    config.resolve(("edge", 1), Path::new("data"), "g", &mut Faults::default())
}

impl World {
    /// A second passes, and there is a round.
    fn round(&mut self, settings: &Settings) -> Vec<Order> {
        self.now += 1_000;
        let url = |port: u32| format!("http://h:{port}");
        let number = |name: &str| name[5..].parse::<u32>().unwrap();
        let running = self.running.iter().map(|name| {
            let (data_url, admin_url) = (url(number(name)), url(1_000 + number(name)));
            (name.clone(), Running { data_url, admin_url, alive: true, ..Running::default() })
        });
        let listing = Listing { instances: running.collect(), desired: None };
        let probes = self.running.iter().map(|name| {
            let health = match (self.silent.contains(name), self.not_ready.contains(name)) {
                (true, _) => Health::Silent("hung".to_owned()),
                (_, true) => Health::NotReady("answered 503".to_owned()),
                _ => Health::Ready,
            };
            let streams = self.streams.get(name).copied();
            (name.clone(), Probe { health, streams, warmth: self.warmth.get(name).cloned() })
        });
        let probes = probes.collect();
        let taken: BTreeSet<_> = self.book.instances.iter().map(|entry| entry.name.clone()).collect();
        let names: Vec<_> =
            (1..=20).map(|n| format!("edge-{n}")).filter(|name| !taken.contains(name)).collect();
        let sight = match self.balancer {
            None => Sight::None,
            Some(false) => Sight::Dark,
            Some(true) => Sight::Seats(&self.seats),
        };
        let round = Round {
            now: self.now,
            settings,
            listing: &listing,
            probes: &probes,
            sight,
            worth: &self.worth,
            names: &names,
        };
        let orders = reconcile(&mut self.book, &round);
        if self.balancer == Some(true) {
            let seat = |member: Member| Seat { duty: member.duty, connections: Some(0) };
            let old = std::mem::take(&mut self.seats);
            self.seats = members(&self.book).into_iter().map(|(name, member)| (name, seat(member))).collect();
            for (name, seat) in &mut self.seats {
                seat.connections = old.get(name).map_or(Some(0), |old| old.connections);
            }
        }
        for order in &orders {
            match order {
                Order::Start(name) => {
                    assert!(self.running.insert(name.clone()), "{name} is started twice");
                    self.starts += 1;
                }
                Order::HandOver(name) => {
                    self.book.get(name).unwrap().seen.handover = Handover::Running(self.takers.clone());
                }
                Order::Ask(name) if !self.stubborn => assert!(self.running.remove(name)),
                Order::Kill(name) => assert!(self.running.remove(name)),
                _ => {}
            }
        }
        orders
    }

    fn rounds(&mut self, settings: &Settings, count: usize) {
        for _ in 0..count {
            self.round(settings);
        }
    }

    fn states(&self) -> String {
        let view = self.book.view(true, None);
        let shown = view.instances.iter().map(|one| format!("{} {}", &one.name[5..], one.state.as_str()));
        shown.collect::<Vec<_>>().join(", ")
    }

    fn note(&self, name: &str) -> &str {
        &self.book.instances.iter().find(|entry| entry.name == name).unwrap().note
    }

    fn with(aim: u32, settings: &Settings) -> Self {
        let mut world = Self { now: 1_000_000, ..Self::default() };
        world.book.aim = Some(aim);
        world.rounds(settings, 3);
        world
    }
}

#[test]
fn the_first_start_together_and_later_ones_one_by_one_and_warmed() {
    let settings = settings("");
    let mut world = World { now: 1_000_000, ..World::default() };
    world.book.aim = Some(2);
    world.round(&settings);
    assert_eq!(world.states(), "1 starting, 2 starting");
    world.round(&settings);
    assert_eq!(world.states(), "1 ready, 2 ready");

    world.book.aim = Some(4);
    world.warmth.insert("edge-3".to_owned(), Warmth::Running(Some(0.5)));
    world.round(&settings);
    let orders = world.round(&settings);
    assert_eq!(orders, [Order::Warm("edge-3".to_owned())]);
    world.rounds(&settings, 3);
    assert_eq!(world.states(), "1 ready, 2 ready, 3 warming");
    assert_eq!(world.book.view(true, None).instances[2].warm_ratio, Some(0.5));
    world.warmth.insert("edge-3".to_owned(), Warmth::Done { ratio: Some(0.93), bytes: 7 });
    world.round(&settings);
    assert_eq!(world.states(), "1 ready, 2 ready, 3 ready, 4 starting");
    assert!(world.book.view(true, None).converging);
    world.warmth.insert("edge-4".to_owned(), Warmth::Unable("cannot".to_owned()));
    world.rounds(&settings, 2);
    assert_eq!(
        (world.states().as_str(), world.note("edge-4")),
        ("1 ready, 2 ready, 3 ready, 4 ready", "joined cold: cannot")
    );
    assert!(!world.book.view(true, None).converging);
}

#[test]
fn one_that_does_not_get_warm_joins_at_the_deadline_and_says_so() {
    let settings = settings("warm = { deadline_secs = 5 }");
    let mut world = World::with(1, &settings);
    world.book.aim = Some(2);
    world.warmth.insert("edge-2".to_owned(), Warmth::Running(None));
    world.rounds(&settings, 7);
    assert_eq!(world.states(), "1 ready, 2 warming");
    world.rounds(&settings, 3);
    assert_eq!(world.states(), "1 ready, 2 ready");
    assert_eq!(world.note("edge-2"), "joined without being warm: not done within 5s");
}

#[test]
fn the_least_valuable_drains_and_is_stopped_when_it_is_idle() {
    let settings = settings("");
    let mut world = World { balancer: Some(true), ..World::with(3, &settings) };
    world.round(&settings);
    for (name, streams) in [("edge-1", 9), ("edge-2", 1), ("edge-3", 9)] {
        world.worth.insert(name.to_owned(), Worth { streams: Some(streams), ..Worth::default() });
    }
    world.streams.insert("edge-2".to_owned(), 1);
    world.book.aim = Some(2);
    world.rounds(&settings, 5);
    assert_eq!(world.states(), "1 ready, 2 draining, 3 ready");
    assert_eq!(world.seats["edge-2"].duty, Duty::Draining);
    // The balancer still has a request with it that it has not begun to answer.
    world.streams.insert("edge-2".to_owned(), 0);
    world.seats.get_mut("edge-2").unwrap().connections = Some(1);
    world.round(&settings);
    assert_eq!(world.states(), "1 ready, 2 draining, 3 ready");
    world.seats.get_mut("edge-2").unwrap().connections = Some(0);
    world.round(&settings);
    assert!(!world.seats.contains_key("edge-2"));
    world.rounds(&settings, 2);
    assert_eq!(world.states(), "1 ready, 3 ready");
    assert_eq!(world.running.len(), 2);
}

#[test]
fn a_stream_that_does_not_end_is_cut_at_the_deadline_and_a_deaf_instance_is_killed() {
    let settings = settings("drain_deadline_secs = 5\nstop_deadline_secs = 4");
    let mut world = World { stubborn: true, ..World::with(2, &settings) };
    world.streams.insert("edge-2".to_owned(), 3);
    world.book.aim = Some(1);
    world.rounds(&settings, 5);
    assert_eq!(world.states(), "1 ready, 2 draining");
    let orders: Vec<_> = (0..3).flat_map(|_| world.round(&settings)).collect();
    assert_eq!(world.states(), "1 ready, 2 stopping");
    assert_eq!(world.note("edge-2"), "at the deadline of its drain with 3 requests left");
    assert_eq!(orders, [Order::Ask("edge-2".to_owned())], "a second time would cut its drain short");
    world.rounds(&settings, 6);
    assert_eq!(world.states(), "1 ready");
}

#[test]
fn one_that_drains_waits_for_those_that_take_what_only_it_has_but_not_for_ever() {
    for (bytes, note) in [(Some(7), "drained, 7 bytes handed over"), (None, "drained")] {
        let settings = settings("warm = { deadline_secs = 5 }");
        let mut world = World { takers: vec!["edge-1".to_owned()], ..World::with(2, &settings) };
        world.warmth.insert("edge-1".to_owned(), Warmth::Running(None));
        world.streams.insert("edge-2".to_owned(), 0);
        world.book.aim = Some(1);
        world.rounds(&settings, 5);
        assert_eq!(world.states(), "1 ready, 2 draining");
        if let Some(bytes) = bytes {
            world.warmth.insert("edge-1".to_owned(), Warmth::Done { ratio: None, bytes });
            world.round(&settings);
        } else {
            world.rounds(&settings, 3);
        }
        assert_eq!((world.states().as_str(), world.note("edge-2")), ("1 ready, 2 stopping", note));
    }
    let settings = settings("warm = { hand_over = false }");
    let mut world = World::with(2, &settings);
    world.book.aim = Some(1);
    let orders: Vec<_> = (0..4).flat_map(|_| world.round(&settings)).collect();
    assert!(!orders.iter().any(|order| matches!(order, Order::HandOver(_))), "{orders:?}");
}

#[test]
fn nobody_leaves_while_the_balancer_is_away() {
    let settings = settings("drain_deadline_secs = 5");
    let mut world = World { balancer: Some(false), ..World::with(2, &settings) };
    world.book.aim = Some(1);
    world.rounds(&settings, 20);
    assert_eq!(world.states(), "1 ready, 2 draining");
    world.balancer = Some(true);
    world.rounds(&settings, 4);
    assert_eq!(world.states(), "1 ready");
}

#[test]
fn one_that_drains_is_taken_back_before_another_is_started() {
    let settings = settings("");
    let mut world = World::with(2, &settings);
    world.streams.insert("edge-2".to_owned(), 3);
    world.book.aim = Some(1);
    world.rounds(&settings, 3);
    world.book.aim = Some(2);
    world.round(&settings);
    assert_eq!((world.states().as_str(), world.starts), ("1 ready, 2 ready", 2));
}

#[test]
fn one_that_leaves_by_hand_is_not_taken_back() {
    let settings = settings("");
    let mut world = World::with(2, &settings);
    world.streams.insert("edge-2".to_owned(), 3);
    let now = world.now;
    let entry = world.book.get("edge-2").unwrap();
    entry.by_hand = true;
    leave(entry, now, "by hand");
    world.rounds(&settings, 2);
    assert_eq!(world.states(), "1 ready, 2 draining, 3 warming");
}

#[test]
fn a_crashed_instance_leaves_the_balancer_at_once_and_comes_back_warmed() {
    let settings = settings("");
    let mut world = World { balancer: Some(true), ..World::with(2, &settings) };
    world.round(&settings);
    world.running.remove("edge-1");
    world.round(&settings);
    assert_eq!(world.seats.keys().collect::<Vec<_>>(), ["edge-2"]);
    assert_eq!(world.states(), "1 starting, 2 ready");
    world.warmth.insert("edge-1".to_owned(), Warmth::Done { ratio: None, bytes: 0 });
    world.rounds(&settings, 4);
    assert_eq!((world.states().as_str(), world.seats.len()), ("1 ready, 2 ready", 2));
}

#[test]
fn what_crashes_again_and_again_is_given_up_and_tried_once_more_later() {
    let settings = settings("crash_limit = 3\nretry_failed_secs = 100");
    let mut world = World::with(2, &settings);
    let dies = |world: &mut World, rounds: usize| {
        for _ in 0..rounds {
            world.running.remove("edge-2");
            world.round(&settings);
        }
    };
    dies(&mut world, 20);
    assert_eq!(world.states(), "1 ready, 2 failed");
    assert!(world.note("edge-2").starts_with("crashed 3 times in a row, at last: it ended"));
    let starts = world.starts;
    dies(&mut world, 60);
    assert_eq!(world.starts, starts, "nobody else is started in its place");
    dies(&mut world, 60);
    assert_eq!((world.states().as_str(), world.starts), ("1 ready, 2 failed", starts + 1));
    world.rounds(&settings, 105);
    assert_eq!(world.states(), "1 ready, 2 warming");
}

#[test]
fn an_instance_that_is_not_ready_is_taken_out_but_never_the_last() {
    let settings = settings("start_deadline_secs = 10");
    let mut world = World { balancer: Some(true), ..World::with(2, &settings) };
    world.not_ready.insert("edge-1".to_owned());
    world.rounds(&settings, 4);
    assert_eq!(
        (world.states().as_str(), world.seats["edge-1"].duty),
        ("1 starting, 2 ready", Duty::Draining)
    );
    world.not_ready.insert("edge-2".to_owned());
    world.rounds(&settings, 30);
    assert_eq!(world.states(), "1 starting, 2 ready", "neither is restarted: both answer");
    world.not_ready.clear();
    world.round(&settings);
    assert_eq!((world.states().as_str(), world.starts), ("1 ready, 2 ready", 2));
}

#[test]
fn a_hung_instance_is_replaced_but_not_when_all_are_silent() {
    let settings = settings("start_deadline_secs = 10");
    let mut world = World::with(2, &settings);
    world.silent.extend(["edge-1".to_owned(), "edge-2".to_owned()]);
    world.rounds(&settings, 40);
    assert_eq!(world.running.len(), 2, "the way there may be what is broken");
    world.silent.remove("edge-1");
    world.round(&settings);
    assert!(!world.running.contains("edge-2"), "{}", world.states());
    world.silent.clear();
    world.rounds(&settings, 4);
    assert_eq!(world.states(), "1 ready, 2 warming");
}

#[test]
fn what_runs_unknown_is_taken_in_and_what_has_ended_is_cleared() {
    let settings = settings("");
    let mut world = World { now: 1_000_000, ..World::default() };
    world.running.extend(["edge-1".to_owned(), "edge-7".to_owned()]);
    world.rounds(&settings, 2);
    assert_eq!((world.states().as_str(), world.book.aim), ("1 ready, 7 ready", Some(2)));
    assert_eq!(world.starts, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, none is started that runs already (the world asserts it), never more than the greatest aim run at
    /// once, and when peace comes the number is reached.
    #[test]
    fn it_always_gets_to_where_it_should(
        events in prop::collection::vec((0u32..6, 0usize..6, 0u8..7), 1..60),
        balancer in any::<bool>(),
    ) {
        let settings = Settings { max_cold: 2, ..settings("crash_limit = 100\ndrain_deadline_secs = 5\nwarm = { deadline_secs = 3 }") };
        let mut world = World { balancer: balancer.then_some(true), now: 1_000_000, ..World::default() };
        let mut greatest = 0;
        for (aim, which, what) in events {
            let name = format!("edge-{}", which + 1);
            match what {
                0 => {
                    greatest = greatest.max(aim as usize);
                    world.book.aim = Some(aim);
                }
                1 => drop(world.running.remove(&name)),
                2 => drop(world.not_ready.insert(name)),
                3 => drop(world.not_ready.remove(&name)),
                4 => drop(world.streams.insert(name, u64::from(aim))),
                // The conductor is killed after its book was saved; what it has only seen is lost.
                5 => world.book.instances.iter_mut().for_each(|entry| entry.seen = Default::default()),
                _ => {}
            }
            world.round(&settings);
            // Those that leave are still there while others that shall stay are started.
            prop_assert!(world.book.staying() <= greatest.max(world.book.aim.unwrap_or(0) as usize));
        }
        world.not_ready.clear();
        world.streams.clear();
        let aim = world.book.aim.unwrap_or(0);
        for _ in 0..300 {
            world.round(&settings);
            if !world.book.view(true, None).converging {
                break;
            }
        }
        prop_assert_eq!(world.book.count(InstanceState::Ready), aim as usize, "{}", world.states());
        prop_assert_eq!(world.running.len(), aim as usize);
        prop_assert!(!world.book.view(true, None).converging);
    }
}
