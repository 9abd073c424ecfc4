//! Real Redis, nginx and HAProxy, and this machine, as they are seen through the sidecar.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use millrace_kit::clock::Clock;

use crate::harness::{START, start};

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn run(program: &str, arguments: &[&str], port: u16) -> Process {
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    let child = Command::new(program)
        .args(arguments)
        .env("PATH", &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is there after `make deps`: {error}"));
    let process = Process(child);
    let deadline = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(Instant::now() < deadline, "{program} does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_tells_its_memory_and_hits_and_is_down_when_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let dir = folder.path().display().to_string();
    let arguments = [
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        &dir,
        "--requirepass",
        "hush",
    ];
    let redis = run("redis-server", &arguments, port).await;
    let password = write(folder.path(), "password", "hush\n");
    let config = format!(
        "targets = []\n[scrape]\nitself = false\n[[collect]]\nkind = 'redis'\nurl = 'redis://127.0.0.1:{port}'\npassword_file = '{password}'\nlabels = {{ tier = 'l3' }}"
    );
    let rig = start(&folder.path().join("data"), &config, &Clock::manual(START)).unwrap();
    rig.step(0).await;
    assert_eq!(rig.query("up").await, ["__name__=up,tier=l3 1"]);
    assert_eq!(rig.query("redis_memory_used_bytes > bool 100000").await, ["tier=l3 1"]);
    assert_eq!(rig.query("redis_instance_info{role=\"master\"}").await.len(), 1);
    assert_eq!(rig.query("redis_connected_clients").await.len(), 1);
    drop(redis);
    rig.step(15).await;
    assert_eq!(rig.query("up").await, ["__name__=up,tier=l3 0"]);
    assert!(rig.query("redis_up").await.is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let arguments =
        ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--requirepass", "hush"];
    let _redis = run("redis-server", &arguments, port).await;
    let config = format!(
        "targets = []\n[scrape]\nitself = false\n[[collect]]\nkind = 'redis'\nurl = 'redis://127.0.0.1:{port}'"
    );
    let rig = start(&folder.path().join("data"), &config, &Clock::manual(START)).unwrap();
    rig.step(0).await;
    let found = rig.json("/api/v1/targets").await;
    let error = found["data"]["activeTargets"][0]["lastError"].as_str().unwrap().to_owned();
    assert!(error.contains("NOAUTH"), "{error}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_tells_its_connections() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let dir = folder.path().display();
    let config = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;\nevents {{}}\nhttp {{ access_log off; \
         client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;\n\
         server {{ listen 127.0.0.1:{port}; location /stub_status {{ stub_status; }} }} }}"
    );
    let config = write(folder.path(), "nginx.conf", &config);
    let _nginx = run("nginx", &["-c", &config, "-e", "/dev/null"], port).await;
    let config = format!(
        "targets = []\n[scrape]\nitself = false\n[[collect]]\nkind = 'nginx'\nurl = 'http://127.0.0.1:{port}/stub_status'"
    );
    let rig = start(&folder.path().join("data"), &config, &Clock::manual(START)).unwrap();
    rig.step(0).await;
    rig.step(15).await;
    assert_eq!(rig.query("up{job=\"nginx\"}").await, ["__name__=up 1"]);
    assert_eq!(rig.query("increase(nginx_http_requests_total[1m]) > bool 0").await, ["1"]);
    assert_eq!(rig.query("nginx_connections_active >= bool 1").await, ["1"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxys_exporter_is_scraped_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = format!(
        "global\n  maxconn 100\ndefaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\n\
         frontend stats\n  bind 127.0.0.1:{port}\n  http-request use-service prometheus-exporter if {{ path /metrics }}\n"
    );
    let config = write(folder.path(), "haproxy.cfg", &config);
    let _haproxy = run("haproxy", &["-db", "-f", &config], port).await;
    let config =
        format!("[[targets]]\nurl = 'http://127.0.0.1:{port}'\njob = 'haproxy'\n[scrape]\nitself = false");
    let rig = start(&folder.path().join("data"), &config, &Clock::manual(START)).unwrap();
    rig.step(0).await;
    assert_eq!(rig.query("up{job=\"haproxy\"}").await, ["__name__=up 1"]);
    assert_eq!(rig.query("haproxy_frontend_status{proxy=\"stats\",state=\"UP\"}").await.len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_and_its_workers() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Process(Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap());
    let config = "targets = []\n[scrape]\nitself = false\n[[collect]]\nkind = 'host'\n[[collect]]\nkind = 'processes'\nprocesses = ['sleep']";
    let rig = start(&folder.path().join("data"), config, &Clock::manual(START)).unwrap();
    rig.step(0).await;
    assert_eq!(rig.query("count(up == 1)").await, ["2"]);
    assert_eq!(rig.query("count(node_cpu_seconds_total{mode=\"idle\"}) > bool 0").await, ["1"]);
    assert_eq!(
        rig.query("node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < bool 1").await,
        ["1"]
    );
    assert_eq!(
        rig.query("namedprocess_namegroup_num_procs{groupname=\"sleep\"} >= bool 1").await,
        ["groupname=sleep 1"]
    );
    assert_eq!(
        rig.query("namedprocess_namegroup_memory_bytes{groupname=\"sleep\"} > bool 4096").await,
        ["groupname=sleep,memtype=resident 1"]
    );
    worker.0.kill().unwrap();
    rig.stop().await;
}
