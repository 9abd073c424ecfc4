//! What every balancer does alike, seen by a client of the real one.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use millrace_kit::tasks::Tasks;
use millrace_sidecar::scaling::fleet::balancer::{Balancer, Duty, Haproxy, Member, Members, Nginx, Settings};
use tokio::net::TcpListener;

use super::{client, free_port, haproxy, service, settings, until, who_answers};

/// Answers with its name.
async fn edge(tasks: &Tasks, name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    service::serve(tasks, listener, move |_| (200, name.to_owned()));
    address
}

fn members<'a>(all: impl IntoIterator<Item = (&'a str, &'a str, Duty)>) -> Members {
    let member = |(name, address, duty): (&str, &str, Duty)| {
        (name.to_owned(), Member { address: address.to_owned(), duty })
    };
    all.into_iter().map(member).collect()
}

async fn only(http: &reqwest::Client, url: &str, names: &[&str]) {
    until(&format!("answers of {names:?} alone"), async || {
        let answers = who_answers(http, url, 12).await;
        (answers.keys().collect::<Vec<_>>() == names).then_some(())
    })
    .await;
}

async fn conforms(balancer: &dyn Balancer, url: &str) {
    let (tasks, http) = (Tasks::new(), client());
    let (a, b) = (edge(&tasks, "a").await, edge(&tasks, "b").await);
    let just_a = members([("edge-1", a.as_str(), Duty::Serving)]);
    balancer.seat(&just_a).await.unwrap();
    only(&http, url, &["a"]).await;

    // What a member has begun it finishes, while others get what is new.
    let slow = format!("{}{}", url.trim_end_matches('/'), service::SLOW);
    let slow = tokio::join!(async { http.get(slow).send().await.unwrap().text().await.unwrap() }, async {
        until("the slow request", async || {
            let seats = balancer.seats().await.unwrap();
            seats.get("edge-1")?.connections.is_none_or(|count| count > 0).then_some(())
        })
        .await;
        let draining =
            members([("edge-1", a.as_str(), Duty::Draining), ("edge-2", b.as_str(), Duty::Serving)]);
        balancer.seat(&draining).await.unwrap();
        only(&http, url, &["b"]).await;
        let seats = balancer.seats().await.unwrap();
        assert_eq!((seats["edge-1"].duty, seats["edge-2"].duty), (Duty::Draining, Duty::Serving));
    });
    assert_eq!(slow.0, "a");
    until("its end", async || {
        let seats = balancer.seats().await.unwrap();
        seats["edge-1"].connections.is_none_or(|count| count == 0).then_some(())
    })
    .await;

    balancer.seat(&members([("edge-2", b.as_str(), Duty::Serving)])).await.unwrap();
    only(&http, url, &["b"]).await;
    assert_eq!(balancer.seats().await.unwrap().keys().collect::<Vec<_>>(), ["edge-2"]);
    let both = members([("edge-1", a.as_str(), Duty::Serving), ("edge-2", b.as_str(), Duty::Serving)]);
    balancer.seat(&both).await.unwrap();
    balancer.seat(&both).await.unwrap();
    only(&http, url, &["a", "b"]).await;
    // The same name at another address.
    let moved = members([("edge-1", b.as_str(), Duty::Serving)]);
    until("the move", async || balancer.seat(&moved).await.ok()).await;
    only(&http, url, &["b"]).await;
    balancer.seat(&both).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_conforms_and_gets_back_what_it_forgot() {
    let folder = tempfile::tempdir().unwrap();
    let mut real = haproxy::Haproxy::start(folder.path()).await;
    let settings = settings(folder.path(), &real.toml());
    let Settings::Haproxy(haproxy) = &settings.balancer else { panic!("not as configured") };
    let balancer = Haproxy::new("edge", haproxy);
    conforms(&balancer, &real.url()).await;

    real.restart().await;
    assert_eq!(balancer.seats().await.unwrap(), BTreeMap::new());
    let (tasks, http) = (Tasks::new(), client());
    let a = edge(&tasks, "a").await;
    balancer.seat(&members([("edge-1", a.as_str(), Duty::Serving)])).await.unwrap();
    only(&http, &real.url(), &["a"]).await;

    let bad = members([("edge-1", a.as_str(), Duty::Serving), ("edge-2", "no address", Duty::Serving)]);
    assert!(balancer.seat(&bad).await.unwrap_err().0.contains("add server millrace/edge:edge-2"));
    only(&http, &real.url(), &["a"]).await;
}

fn nginx(folder: &Path, action: &[&str]) -> Command {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let mut command = Command::new("nginx");
    command.env("PATH", path).arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).args(action);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let (at, port) = (folder.path().display().to_string(), free_port());
    let text = format!(
        "daemon off;\nmaster_process on;\nworker_processes 1;\npid {at}/pid;\nerror_log {at}/error.log;\nevents {{}}\n\
         http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
         uwsgi_temp_path {at}/u; scgi_temp_path {at}/s; include {at}/upstream.conf;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://millrace; }} }} }}\n"
    );
    std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
    let config = format!(
        "balancer = 'nginx'\n[nginx]\nfile = '{at}/upstream.conf'\ndirectives = []\n\
         reload = ['/bin/sh', '-c', 'PATH=$PATH:/usr/sbin nginx -p {at} -c {at}/nginx.conf -s reload']"
    );
    let settings = settings(folder.path(), &config);
    let Settings::Nginx(nginx_settings) = &settings.balancer else { panic!("not as configured") };
    let balancer = Nginx::new(nginx_settings);
    // Nothing to reload yet; the file is there for its start.
    assert!(balancer.seat(&Members::new()).await.unwrap_err().0.contains("reload"));
    let mut child = nginx(folder.path(), &[]).spawn().unwrap();
    until("nginx", async || std::fs::metadata(folder.path().join("pid")).ok().filter(|pid| pid.len() > 1))
        .await;
    until("its first reload", async || balancer.seat(&Members::new()).await.ok()).await;
    conforms(&balancer, &format!("http://127.0.0.1:{port}/")).await;
    nginx(folder.path(), &["-s", "stop"]).status().unwrap();
    child.wait().unwrap();
}
