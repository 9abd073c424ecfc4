//! Targets that Docker, Kubernetes and DNS name. The answers of the first two are recorded from real ones, shortened.

use millrace_kit::{clock::Clock, tasks::Tasks};
use serde_json::Value;
use tokio::net::UdpSocket;

use crate::{
    harness::{Rig, START, start},
    http_double::Double,
};

async fn rig(folder: &tempfile::TempDir, discover: &str) -> Rig {
    let config = format!("targets = []\n[scrape]\nitself = false\n[[discover]]\n{discover}");
    start(&folder.path().join("data"), &config, &Clock::manual(START)).unwrap()
}

/// `url labels` of every target.
async fn targets(rig: &Rig) -> Vec<String> {
    let found = rig.json("/api/v1/targets").await;
    let active = found["data"]["activeTargets"].as_array().unwrap().iter();
    let shown = |target: &Value| format!("{} {}", target["scrapeUrl"].as_str().unwrap(), target["labels"]);
    active.map(shown).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_with_a_label_are_targets() {
    let folder = tempfile::tempdir().unwrap();
    let target = Double::start("jobs_total 1\n").await;
    let engine = Double::start(&format!(
        r#"[{{"Id":"c1","Names":["/edge-1"],"Labels":{{"millrace.scrape":"true","com.docker.compose.service":"edge"}},
            "Ports":[{{"PrivatePort":{},"Type":"tcp"}},{{"PrivatePort":443,"Type":"udp"}}],"HostConfig":{{"NetworkMode":"host"}},
            "NetworkSettings":{{"Networks":{{"host":{{"NetworkID":"n","IPAddress":""}}}}}}}}]"#,
        target.address.port()
    ))
    .await;
    let discover = format!(
        "docker = {{ engine = '{}', labels = ['millrace.scrape=true'] }}\nrelabel = [\
         {{ source_labels = ['__meta_docker_container_label_com_docker_compose_service'], target_label = 'service' }},\
         {{ source_labels = ['__meta_docker_container_name'], regex = '/(.*)', target_label = 'container' }}]",
        engine.url()
    );
    let rig = rig(&folder, &discover).await;
    rig.step(0).await;
    let port = target.address.port();
    assert_eq!(
        targets(&rig).await,
        [format!(
            r#"http://localhost:{port}/metrics {{"container":"edge-1","instance":"localhost:{port}","job":"millrace","service":"edge"}}"#
        )]
    );
    let asked = engine.heads().remove(0);
    assert!(
        asked.starts_with("GET /containers/json?filters=%7B%22label%22%3A%5B%22millrace.scrape%3Dtrue%22%5D"),
        "{asked}"
    );
    assert_eq!(rig.query("sum(up)").await, ["1"]);
    // The engine is away: the targets stay. It is back and has none: they go.
    engine.fail(500);
    rig.step(15).await;
    assert_eq!(targets(&rig).await.len(), 1);
    engine.expose("[]");
    rig.step(15).await;
    assert!(targets(&rig).await.is_empty());
    assert!(rig.query("up").await.is_empty());
    rig.stop().await;
}

const SLICES: &str = r#"{"kind":"EndpointSliceList","metadata":{"resourceVersion":"1","continue":"next page"},"items":[
    {"metadata":{"name":"edge-abc","namespace":"cdn","labels":{"kubernetes.io/service-name":"edge"}},"addressType":"IPv4",
     "endpoints":[{"addresses":["10.1.0.4"],"conditions":{"ready":true,"serving":true,"terminating":false},
                   "nodeName":"n1","targetRef":{"kind":"Pod","name":"edge-0","namespace":"cdn"}},
                  {"addresses":["10.1.0.5"],"conditions":{"ready":false,"serving":false,"terminating":true}}],
     "ports":[{"name":"admin","port":8081,"protocol":"TCP"},{"name":"data","port":8080,"protocol":"TCP"}]}]}"#;

const MORE_SLICES: &str = r#"{"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":[
    {"metadata":{"name":"edge-def","namespace":"cdn"},"addressType":"IPv6",
     "endpoints":[{"addresses":["fd00::7"],"conditions":{}}],"ports":[{"name":"admin","port":8081}]},
    {"metadata":{"name":"none","namespace":"cdn"},"addressType":"IPv4","endpoints":null,"ports":null}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_of_a_cluster_are_targets() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let api = Double::start(SLICES).await;
    api.expose_at("continue=next+page", MORE_SLICES);
    let discover = format!(
        "kubernetes = {{ api = '{}', namespace = 'cdn', selector = 'app=edge', port_name = 'admin', token_file = '{}' }}\n\
         relabel = [{{ source_labels = ['__meta_kubernetes_endpointslice_endpoint_conditions_terminating'], regex = 'true', action = 'drop' }},\
         {{ source_labels = ['__meta_kubernetes_pod_name'], target_label = 'pod' }}]",
        api.url(),
        token.display()
    );
    let rig = rig(&folder, &discover).await;
    rig.discover().await;
    assert_eq!(
        targets(&rig).await,
        [
            r#"http://10.1.0.4:8081/metrics {"instance":"10.1.0.4:8081","job":"millrace","pod":"edge-0"}"#,
            r#"http://[fd00::7]:8081/metrics {"instance":"[fd00::7]:8081","job":"millrace"}"#,
        ]
    );
    let asked = api.heads();
    let path =
        "GET /apis/discovery.k8s.io/v1/namespaces/cdn/endpointslices?limit=500&labelSelector=app%3Dedge";
    assert!(asked[0].starts_with(path), "{}", asked[0]);
    assert!(asked[0].contains("uthorization: Bearer first\r\n"), "{}", asked[0]);
    // Clusters renew tokens.
    std::fs::write(&token, "second\n").unwrap();
    rig.discover().await;
    assert!(api.heads()[0].contains("uthorization: Bearer second\r\n"));
    rig.stop().await;
}

/// Answers every question with two services.
async fn name_server(tasks: &Tasks) -> std::net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tasks.spawn_until_stop("name server", async move {
        let mut question = [0; 512];
        loop {
            let (length, asker) = socket.recv_from(&mut question).await.unwrap();
            // The name ends with an empty label; type and class follow.
            let end = 12 + question[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
            let mut answer = question[..end].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[6..12].copy_from_slice(&[0, 2, 0, 0, 0, 0]);
            for (host, port) in [("e1", 8081u16), ("e2", 9000)] {
                let mut target = vec![2];
                target.extend(host.bytes());
                target.extend(b"\x08internal\x00");
                answer.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60]);
                answer.extend(((target.len() + 6) as u16).to_be_bytes());
                answer.extend([0, 0, 0, 0]);
                answer.extend(port.to_be_bytes());
                answer.extend(target);
            }
            socket.send_to(&answer, asker).await.unwrap();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn services_in_dns_bring_their_ports() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let server = name_server(&tasks).await;
    let discover = format!("dns_srv = ['_metrics._tcp.edge.internal.']\ndns_servers = ['{server}']");
    let rig = rig(&folder, &discover).await;
    rig.discover().await;
    let found: Vec<_> = targets(&rig).await;
    assert_eq!(
        found,
        [
            r#"http://e1.internal:8081/metrics {"instance":"e1.internal:8081","job":"millrace"}"#,
            r#"http://e2.internal:9000/metrics {"instance":"e2.internal:9000","job":"millrace"}"#,
        ]
    );
    rig.stop().await;
}
