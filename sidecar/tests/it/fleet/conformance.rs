//! What every actuator does alike, however it runs instances.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use millrace_kit::tasks::Tasks;
use millrace_sidecar::scaling::fleet::actuator::{
    Actuator, Docker, Kubernetes, Processes, Running, Settings, Stop, Webhook,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;

use super::{Home, kubernetes::Cluster, ports, service, settings, until};

/// A new actuator over the same world, as after a restart of the sidecar.
type Make<'a> = &'a dyn Fn() -> Box<dyn Actuator>;

fn serving(all: &BTreeMap<String, Running>) -> Vec<String> {
    let stays = all.iter().filter(|(_, one)| one.alive && !one.leaving);
    stays.map(|(name, _)| name.clone()).collect()
}

async fn settle(actuator: &dyn Actuator, count: usize) -> Vec<String> {
    until(&format!("{count} instances"), async || {
        let listing = actuator.list().await.unwrap();
        let names = serving(&listing.instances);
        let placed = listing.instances.values().filter(|one| one.alive && !one.leaving);
        let placed =
            placed.filter(|one| one.data_url.starts_with("http://") && one.admin_url.starts_with("http://"));
        (names.len() == count && placed.count() == count).then_some(names)
    })
    .await
}

async fn conforms(make: Make<'_>) {
    let actuator = make();
    let listing = actuator.list().await.unwrap();
    assert_eq!((serving(&listing.instances).len(), listing.desired.unwrap_or(0)), (0, 0));

    actuator.start("edge-1", 1).await.unwrap();
    actuator.start("edge-1", 1).await.unwrap();
    settle(&*actuator, 1).await;
    actuator.start("edge-2", 2).await.unwrap();
    let both = settle(&*actuator, 2).await;
    let before = actuator.list().await.unwrap();
    if before.desired.is_none() {
        assert_eq!(both, ["edge-1", "edge-2"]);
    }

    // Another conductor finds the same, and starts none of them again.
    drop(actuator);
    let actuator = make();
    assert_eq!(actuator.list().await.unwrap(), before);
    actuator.start("edge-2", 2).await.unwrap();
    assert_eq!(settle(&*actuator, 2).await, both);

    // The one that is asked to leave leaves.
    actuator.stop(&both[0], Stop::Ask, 1).await.unwrap();
    actuator.stop(&both[0], Stop::Ask, 1).await.unwrap();
    assert_eq!(settle(&*actuator, 1).await, both[1..]);
    until("its end", async || {
        let listing = actuator.list().await.unwrap();
        listing.instances.get(&both[0]).is_none_or(|one| !one.alive).then_some(())
    })
    .await;
    actuator.clear(&both[0]).await.unwrap();
    actuator.clear(&both[0]).await.unwrap();
    assert!(!actuator.list().await.unwrap().instances.contains_key(&both[0]));

    actuator.stop("edge-9", Stop::Ask, 1).await.unwrap();
    assert_eq!(settle(&*actuator, 1).await, both[1..]);
    actuator.stop(&both[1], Stop::Kill, 0).await.unwrap();
    settle(&*actuator, 0).await;
    actuator.clear(&both[1]).await.unwrap();
    assert!(actuator.list().await.unwrap().instances.is_empty());
}

fn processes(folder: &Path, command: &str) -> Processes {
    let (data, admin) = ports();
    let toml = format!("process = {{ command = {command}, data_port = {data}, admin_port = {admin} }}");
    let settings = settings(folder, &toml);
    let Settings::Process(process) = &settings.actuator else { panic!("not the default") };
    Processes::new("edge", process)
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_conform() {
    let folder = Home::new();
    let (data, admin) = ports();
    let toml =
        format!("process = {{ command = ['sleep', '600'], data_port = {data}, admin_port = {admin} }}");
    let settings = settings(folder.path(), &toml);
    let Settings::Process(process) = &settings.actuator else { panic!("not the default") };
    conforms(&|| Box::new(Processes::new("edge", process))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_start_the_same_process_start_one() {
    let folder = Home::new();
    let command = "['sh', '-c', 'echo began; exec sleep 600']";
    let (a, b) = (processes(folder.path(), command), processes(folder.path(), command));
    let (one, two) = tokio::join!(a.start("edge-1", 1), b.start("edge-1", 1));
    one.and(two).unwrap();
    let log = folder.path().join("scaling/instances/edge-1/log");
    until("its first words", async || std::fs::read_to_string(&log).ok().filter(|log| !log.is_empty())).await;
    a.start("edge-1", 1).await.unwrap();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "began\n");
    b.stop("edge-1", Stop::Kill, 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_leaves_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let actuator = processes(folder.path(), "['sh', '-c', 'echo no origin >&2; exit 64']");
    actuator.start("edge-1", 1).await.unwrap();
    let words = until("its end", async || {
        let listing = actuator.list().await.unwrap();
        listing.instances.get("edge-1").filter(|one| !one.alive).map(|one| one.words.clone())
    })
    .await;
    assert_eq!(words, "exit status: 64\nno origin");
    let missing = processes(folder.path(), "['/nowhere/millrace']");
    assert!(missing.start("edge-2", 1).await.unwrap_err().0.contains("/nowhere/millrace"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_not_vacant() {
    let folder = tempfile::tempdir().unwrap();
    let actuator = processes(folder.path(), "['true']");
    assert!(!actuator.vacant("other-1"));
    let number = (1..200).find(|number| actuator.vacant(&format!("edge-{number}"))).unwrap();
    let name = format!("edge-{number}");
    actuator.start(&name, 1).await.unwrap();
    let url = actuator.list().await.unwrap().instances[&name].admin_url.clone();
    let _taken = TcpListener::bind(url.strip_prefix("http://").unwrap()).await.unwrap();
    assert!(!actuator.vacant(&name));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_conforms() {
    let cluster = Cluster::start().await;
    let settings = cluster.settings();
    let Settings::Kubernetes(kubernetes) = &settings.actuator else { panic!("not as configured") };
    conforms(&|| Box::new(Kubernetes::new(kubernetes).unwrap())).await;
}

/// Writes between our reading and our writing are seen, by the version that the API checks.
#[tokio::test(flavor = "multi_thread")]
async fn who_else_scales_a_cluster_is_not_overwritten_unseen() {
    let cluster = Cluster::start().await;
    let settings = cluster.settings();
    let Settings::Kubernetes(kubernetes) = &settings.actuator else { panic!("not as configured") };
    let actuator = Kubernetes::new(kubernetes).unwrap();
    cluster.meddle(3);
    actuator.start("", 2).await.unwrap();
    assert_eq!((actuator.list().await.unwrap().desired, cluster.conflicts()), (Some(2), 3));
    cluster.meddle(100);
    let error = actuator.start("", 4).await.unwrap_err();
    assert!(error.0.contains("changed by others"), "{error}");
    cluster.meddle(0);
    assert_eq!(actuator.list().await.unwrap().desired, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_conforms() {
    let tasks = Tasks::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("actuator = 'webhook'\nwebhook.url = 'http://{}/'", listener.local_addr().unwrap());
    let settings = settings(folder.path(), &toml);
    let state = Arc::new(Mutex::new((0u64, 0u64, Vec::<String>::new())));
    service::serve(&tasks, listener, move |request| {
        let (desired, made, names) = &mut *state.lock();
        if request.method == "POST" {
            *desired = request.body["desired"].as_u64().unwrap();
            names.retain(|name| request.body["leave"] != *name);
            while (names.len() as u64) < *desired {
                *made += 1;
                names.push(format!("vm-{made}"));
            }
        }
        let instance = |name| json!({ "name": name, "data_url": format!("http://{name}:1/"), "admin_url": format!("http://{name}:2") });
        let all: Vec<_> = names.iter().map(instance).collect();
        (200, json!({ "desired": *desired, "instances": all }).to_string())
    });
    let Settings::Webhook(webhook) = &settings.actuator else { panic!("not as configured") };
    conforms(&|| Box::new(Webhook::new("edge", webhook).unwrap())).await;
}

/// Wants an engine of its own, which has the image `millrace-test` with a shell in it: docs/fleet.md says how.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_conforms() {
    let Ok(engine) = std::env::var("MILLRACE_TEST_DOCKER") else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = "trap 'exit 0' TERM; echo began; while :; do sleep 0.1; done";
    let toml = format!(
        "actuator = 'docker'\n[docker]\nengine = {engine:?}\nimage = 'millrace-test'\n\
         command = ['/bin/busybox', 'sh', '-c', \"{script}\"]"
    );
    let settings = settings(folder.path(), &toml);
    let Settings::Docker(docker) = &settings.actuator else { panic!("not as configured") };
    conforms(&|| Box::new(Docker::new("edge", docker))).await;
}
