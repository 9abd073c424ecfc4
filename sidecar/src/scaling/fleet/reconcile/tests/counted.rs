//! Rounds with an actuator that names instances itself.

use super::*;

/// A pod with `~` behind its name has been told to end.
fn counted(book: &mut Book, settings: &Settings, now: UnixMillis, desired: u32, pods: &[&str]) -> Vec<Order> {
    let named = |pod: &str| pod.trim_end_matches('~').to_owned();
    let running = pods.iter().map(|pod| {
        let url = format!("http://{}", named(pod));
        let leaving = pod.ends_with('~');
        let running =
            Running { data_url: url.clone(), admin_url: url, alive: true, leaving, ..Running::default() };
        (named(pod), running)
    });
    let listing = Listing { instances: running.collect(), desired: Some(desired) };
    let probe = |pod: &&str| (named(pod), Probe { health: Health::Ready, streams: Some(0), warmth: None });
    let round = Round {
        now,
        settings,
        listing: &listing,
        probes: &pods.iter().map(probe).collect(),
        sight: Sight::None,
        worth: &BTreeMap::new(),
        names: &[],
    };
    reconcile(book, &round)
}

#[test]
fn a_cluster_is_told_numbers_and_names_its_pods_itself() {
    let settings = settings("warm = { bytes = '0' }");
    let mut book = Book::default();
    assert!(counted(&mut book, &settings, 1_000, 2, &["a", "b"]).is_empty());
    assert!(counted(&mut book, &settings, 2_000, 2, &["a", "b"]).is_empty());
    assert_eq!(book.aim, Some(2));
    book.aim = Some(4);
    // One that is getting ready at a time.
    assert_eq!(counted(&mut book, &settings, 3_000, 2, &["a", "b"]), [Order::Count(3)]);
    assert!(counted(&mut book, &settings, 4_000, 3, &["a", "b"]).is_empty(), "one is on its way");
    assert_eq!(counted(&mut book, &settings, 5_000, 3, &["a", "b", "c"]), [Order::Count(4)]);
    counted(&mut book, &settings, 7_000, 4, &["a", "b", "c", "d"]);
    counted(&mut book, &settings, 8_000, 4, &["a", "b", "c", "d"]);
    assert_eq!(book.count(InstanceState::Ready), 4);
    book.aim = Some(3);
    assert!(counted(&mut book, &settings, 9_000, 4, &["a", "b", "c", "d"]).is_empty());
    assert_eq!(total(&book, Some(4), 3), 4, "the one that drains is still needed");
    counted(&mut book, &settings, 12_000, 4, &["a", "b", "c", "d"]);
    let orders = counted(&mut book, &settings, 13_000, 4, &["a", "b", "c", "d"]);
    assert_eq!(orders, [Order::Ask("d".to_owned())]);
    assert_eq!(total(&book, Some(4), 3), 3);
    // The cluster took another, and has long settled.
    assert!(counted(&mut book, &settings, 90_000, 3, &["a", "b", "d"]).is_empty());
    let states: Vec<_> = book.instances.iter().map(|entry| (entry.name.as_str(), entry.state)).collect();
    assert_eq!(states, ["a", "b", "d"].map(|name| (name, InstanceState::Ready)));
}

#[test]
fn a_pod_that_takes_its_time_to_end_is_not_taken_for_one_that_stays() {
    let settings = settings("warm = { bytes = '0' }");
    let mut book = Book::default();
    for now in [1_000, 2_000] {
        counted(&mut book, &settings, now, 2, &["a", "b"]);
    }
    book.aim = Some(1);
    counted(&mut book, &settings, 3_000, 2, &["a", "b"]);
    counted(&mut book, &settings, 6_000, 2, &["a", "b"]);
    assert_eq!(counted(&mut book, &settings, 7_000, 2, &["a", "b"]), [Order::Ask("b".to_owned())]);
    // Longer than `stop_deadline_secs`: a pod has the time that its own manifest says.
    for now in [8_000, 60_000, 120_000] {
        assert_eq!(counted(&mut book, &settings, now, 1, &["a", "b~"]), [], "at {now}");
        assert_eq!(book.get("b").unwrap().state, InstanceState::Stopping, "at {now}");
    }
    counted(&mut book, &settings, 121_000, 1, &["a"]);
    assert_eq!(book.instances.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a"]);
}
