//! What ships for running a fleet: files that name each other, settings that have to agree, and programs that read them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use millrace_kit::config::{self, Layer};
use millrace_sidecar::config::{Raw, Settings, resolve};
use serde::Deserialize;
use serde_yaml_ng::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Vec<Value> {
    let text = text(path);
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| {
            let mut value = Value::deserialize(document).unwrap_or_else(|error| panic!("{path}: {error}"));
            value.apply_merge().unwrap();
            value
        })
        .collect()
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_sequence().into_iter().flatten();
    list.map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// Of `kind` among the documents.
fn of<'v>(documents: &'v [Value], kind: &str) -> &'v Value {
    documents.iter().find(|document| document["kind"] == *kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn sidecar(path: &str) -> Settings {
    // Where it will be, and where it is.
    let text = text(path).replace("/etc/millrace/", &format!("{}/config/k8s/", root().display()));
    let raw: Raw =
        config::load(&[Layer::file(path, &text)]).unwrap_or_else(|faults| panic!("{path}: {faults}"));
    resolve(&raw).unwrap_or_else(|faults| panic!("{path}: {faults}"))
}

#[test]
fn compose_names_what_is_there() {
    let [file] = &yaml("docker-compose.yml")[..] else { panic!("one document") };
    let services = file["services"].as_mapping().unwrap();
    let names: BTreeSet<_> = services.keys().map(|name| name.as_str().unwrap()).collect();
    let dockerfile = text("deploy/Dockerfile");
    for (name, service) in services {
        let name = name.as_str().unwrap();
        let wants: Vec<String> = match &service["depends_on"] {
            Value::Mapping(wants) => wants.keys().map(|name| name.as_str().unwrap().to_owned()).collect(),
            list => strings(list),
        };
        assert!(wants.iter().all(|want| names.contains(want.as_str())), "{name}: {wants:?}");
        for volume in strings(&service["volumes"]) {
            let from = volume.split(':').next().unwrap();
            let there = match from.strip_prefix("./") {
                Some(path) => root().join(path).exists(),
                None => from.starts_with("${MEDIA") || file["volumes"].get(from).is_some(),
            };
            assert!(there, "{name}: {volume}");
        }
        if let Some(target) = service["build"]["target"].as_str() {
            assert!(dockerfile.contains(&format!(" AS {target}\n")), "{name}: {target}");
        }
        for (key, value) in service["environment"].as_mapping().into_iter().flatten() {
            let key = key.as_str().unwrap();
            let secret =
                ["SECRET", "TOKEN", "PASSWORD", "KEY", "DATABASE"].iter().any(|word| key.contains(word));
            assert!(!secret || value.as_str().unwrap().contains("${"), "{name}: {key} is in the file");
        }
    }
}

#[test]
fn all_that_look_at_the_servers_of_compose_look_at_the_same() {
    let servers: BTreeSet<String> = (1..=3).map(|number| format!("server-{number}")).collect();
    let [file] = &yaml("docker-compose.yml")[..] else { panic!("one document") };
    let balanced = text("deploy/haproxy/compose.cfg");
    let settings = sidecar("config/compose/sidecar.toml");
    let scraped: BTreeSet<_> = settings.targets.iter().filter_map(|target| target.url.host_str()).collect();
    let prometheus = text("deploy/prometheus/prometheus.yml");
    for server in &servers {
        assert!(file["services"].get(server.as_str()).is_some());
        assert!(balanced.contains(&format!("server {server} {server}:8080")));
        assert!(scraped.contains(server.as_str()));
        assert!(prometheus.contains(&format!("{server}:8081")));
    }
}

#[test]
fn servers_of_compose_trust_their_network_and_no_other() {
    let [file] = &yaml("docker-compose.yml")[..] else { panic!("one document") };
    let subnet = file["networks"]["default"]["ipam"]["config"][0]["subnet"].as_str().unwrap();
    let settings: toml::Table = text("config/compose/millrace.toml").parse().unwrap();
    let trusted = settings["proxies"]["trusted"].as_array().unwrap();
    assert_eq!(trusted.iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>(), [subnet]);
}

#[test]
fn static_programs_are_built_in_one_way() {
    let (dockerfile, docs) = (text("deploy/Dockerfile"), text("docs/fleet.md"));
    let command = docs.lines().find(|line| line.starts_with("RUSTFLAGS=")).unwrap();
    assert!(dockerfile.contains(command), "{command}");
}

#[test]
fn the_cluster_gets_what_fits_together() {
    let kustomization = &yaml("deploy/kubernetes/kustomization.yaml")[0];
    for resource in strings(&kustomization["resources"]) {
        assert!(root().join("deploy/kubernetes").join(&resource).exists(), "{resource}");
    }
    for map in yaml("config/k8s/kustomization.yaml")[0]["configMapGenerator"].as_sequence().unwrap() {
        for file in strings(&map["files"]) {
            assert!(root().join("config/k8s").join(&file).exists(), "{file}");
        }
    }
    let (server, beside) = (yaml("deploy/kubernetes/server.yaml"), yaml("deploy/kubernetes/sidecar.yaml"));
    // kustomize gives a generated map another name, and writes it wherever the old one may be meant.
    let maps = yaml("config/k8s/kustomization.yaml")[0]["configMapGenerator"].clone();
    let maps: BTreeSet<_> =
        maps.as_sequence().unwrap().iter().map(|map| map["name"].as_str().unwrap().to_owned()).collect();
    for rule in of(&beside, "Role")["rules"].as_sequence().unwrap() {
        let named = strings(&rule["resourceNames"]);
        assert!(
            named.iter().all(|name| !maps.contains(name)),
            "kustomize would rename {named:?} in the role"
        );
    }
    for (documents, kind) in [(&server, "Deployment"), (&beside, "StatefulSet")] {
        let volumes = of(documents, kind)["spec"]["template"]["spec"]["volumes"].as_sequence().unwrap();
        let mounted = volumes.iter().filter_map(|volume| volume["configMap"]["name"].as_str());
        for name in mounted {
            assert!(maps.contains(name), "{kind}: nothing makes the map {name}");
        }
    }
    let deployment = of(&server, "Deployment");
    assert!(
        deployment["spec"].get("replicas").is_none(),
        "each apply would undo what the sidecar has decided"
    );
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels, &deployment["spec"]["selector"]["matchLabels"]);
    assert_eq!(labels, &of(&server, "Service")["spec"]["selector"]);
    assert_eq!(labels, &of(&server, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]);

    // A policy for a workload that is there, in its namespace.
    let policy: toml::Table = text("config/k8s/scaling.toml").parse().unwrap();
    let kubernetes = &policy["groups"][0]["fleet"]["kubernetes"];
    assert_eq!(kubernetes["name"].as_str(), deployment["metadata"]["name"].as_str());
    assert_eq!(kubernetes["namespace"].as_str(), kustomization["namespace"].as_str());
    sidecar("config/k8s/sidecar.toml");

    // What the actuator asks the API for, and nothing else.
    let rules = of(&beside, "Role")["rules"].as_sequence().unwrap();
    let may: Vec<_> =
        rules.iter().map(|rule| (strings(&rule["resources"]), strings(&rule["verbs"]))).collect();
    let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let wants = [("deployments/scale", "get update"), ("pods", "list patch delete")];
    assert_eq!(may, wants.map(|(of, verbs)| (words(of), words(verbs))));

    // The cluster waits for as long as a pod drains, and listens where it tells how it is.
    let settings: toml::Table = text("config/k8s/millrace.toml").parse().unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let seconds = |value: &Value| value.as_i64().unwrap();
    let drain = settings["server"]["drain_timeout_secs"].as_integer().unwrap();
    let before = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
    assert!(seconds(&pod["terminationGracePeriodSeconds"]) > drain + before);
    for (port, key) in container["ports"].as_sequence().unwrap().iter().zip(["listen", "admin"]) {
        let address = settings["server"][key].as_str().unwrap();
        assert!(address.ends_with(&format!(":{}", seconds(&port["containerPort"]))), "{key}");
    }
}

fn run(program: &str, arguments: &[&str]) {
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    let done = Command::new(program).args(arguments).env("PATH", path).output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn balancers_read_their_files() {
    let path = |name: &str| root().join("deploy").join(name).display().to_string();
    for name in ["haproxy/haproxy.cfg", "haproxy/compose.cfg"] {
        run("haproxy", &["-c", "-q", "-f", &path(name)]);
    }
    // nginx binds its ports also to test, and not everybody may that one.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let site = text("deploy/nginx/millrace.conf").replace("listen 80;", "listen 127.0.0.1:8080;");
    std::fs::write(folder.path().join("millrace.conf"), site).unwrap();
    let whole = format!(
        "pid {place}/pid;\nerror_log stderr;\nevents {{}}\n\
         http {{ access_log off; client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f;\n\
         uwsgi_temp_path {place}/u; scgi_temp_path {place}/s; include {}; include {place}/millrace.conf; }}\n",
        path("nginx/millrace-upstream.conf")
    );
    std::fs::write(folder.path().join("nginx.conf"), whole).unwrap();
    run("nginx", &["-t", "-q", "-p", &place.to_string(), "-c", &format!("{place}/nginx.conf")]);
}
