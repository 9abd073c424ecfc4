//! Rounds with an actuator that names instances itself.

use super::*;

fn counted(book: &mut Book, settings: &Settings, now: UnixMillis, desired: u32, pods: &[&str]) -> Vec<Order> {
    let running = pods.iter().map(|name| {
        let url = format!("http://{name}");
        let running = Running { data_url: url.clone(), admin_url: url, alive: true, ..Running::default() };
        ((*name).to_owned(), running)
    });
    let listing = Listing { instances: running.collect(), desired: Some(desired) };
    let probe =
        |name: &&str| ((*name).to_owned(), Probe { health: Health::Ready, streams: Some(0), warmth: None });
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
