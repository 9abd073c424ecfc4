//! Signals from series of one's own: values, ages, and who reports.

use super::*;
use crate::{
    model::{METRIC_NAME, STALE_NAN, Sample},
    scaling::{decide::tests::START, policy::parse},
    scrape::Sink,
    series::{Bounds, Config},
};

fn store() -> Arc<Store> {
    Arc::new(Store::new(Bounds::new(&Config::default(), 1 << 20)))
}

fn put(store: &Store, name: &str, instance: &str, at: UnixMillis, value: f64) {
    let labels = Labels::from_pairs([(METRIC_NAME, name), (INSTANCE, instance), ("job", "millrace")]);
    store.append(&[(store.intern(&labels).unwrap(), Sample { at, value })]);
}

fn policy() -> Policy {
    let text = r#"
[[groups]]
name = 'g'
min = 1
up = []
down = []
slo = []
targets = [{ signal = 'busy', target = 1.0 }]
signals = [
  { name = 'busy', expr = 'avg(busy{instance=~"$ready"})' },
  { name = 'errors', expr = 'sum(errors{instance=~"$ready"}) or vector(0)', reports = 'up{instance=~"$ready"} == 1' },
  { name = 'each', expr = 'busy' },
  { name = 'nan', expr = 'avg(busy) / 0 * 0' },
  { name = 'balancer', expr = 'waiting', elsewhere = true },
]
"#;
    parse("p.toml", text, std::path::Path::new("d"), Duration::from_secs(15)).unwrap().groups.remove(0)
}

async fn read(store: &Arc<Store>, ready: &[&str]) -> HashMap<String, Reading> {
    let ready: Vec<_> = ready.iter().map(ToString::to_string).collect();
    let source = Source::own(store.clone());
    let readings = read_all(&source, &policy(), &ready, START).await;
    readings.into_iter().map(|reading| (reading.name.clone(), reading)).collect()
}

#[tokio::test]
async fn values_are_of_ready_instances_alone() {
    let store = store();
    for (instance, value) in [("10.0.0.1:81", 1.0), ("10.0.0.2:81", 3.0), ("10x0.0.1:81", 100.0)] {
        put(&store, "busy", instance, START - 4000, value);
        put(&store, "up", instance, START - 4000, 1.0);
    }
    let readings = read(&store, &["10.0.0.1:81", "10.0.0.2:81"]).await;
    let busy = &readings["busy"];
    // The dot in an address is no wildcard.
    assert_eq!((busy.value, busy.age_ms, busy.reporting, busy.coverage), (Some(2.0), Some(4000), 2, 1.0));
    let errors = &readings["errors"];
    assert_eq!((errors.value, errors.coverage), (Some(0.0), 1.0), "no error yet is not silence");
    assert_eq!(readings["each"].error, "gives 3 values, not one");
    assert_eq!(readings["nan"].value, None);
    assert_eq!((readings["balancer"].value, readings["balancer"].age_ms), (None, None));
}

#[tokio::test]
async fn who_is_silent_or_late_is_not_covered() {
    let store = store();
    for (instance, at) in [("a", START - 4000), ("b", START - 50_000), ("c", START - 4000)] {
        put(&store, "busy", instance, at, 1.0);
        put(&store, "up", instance, at, if instance == "c" { 0.0 } else { 1.0 });
    }
    put(&store, "busy", "c", START - 1000, STALE_NAN);
    let readings = read(&store, &["a", "b", "c", "d"]).await;
    let busy = &readings["busy"];
    assert_eq!((busy.reporting, busy.coverage, busy.age_ms), (1, 0.25, Some(4000)));
    assert_eq!((readings["errors"].reporting, readings["errors"].coverage), (1, 0.25));
}

#[tokio::test]
async fn of_nobody_nothing_is_known() {
    let store = store();
    put(&store, "busy", "a", START - 1000, 1.0);
    put(&store, "waiting", "proxy", START - 1000, 7.0);
    let readings = read(&store, &[]).await;
    assert_eq!((readings["busy"].value, readings["busy"].coverage), (None, 0.0));
    let balancer = &readings["balancer"];
    assert_eq!((balancer.value, balancer.coverage, balancer.age_ms), (Some(7.0), 1.0, Some(1000)));
}
