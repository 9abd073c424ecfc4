//! Expositions legal and illegal: our scrape gives the verdict and the samples that Prometheus gives. What Prometheus 3.5
//! made of them is recorded in `answers.json`; `MILLRACE_PROMETHEUS=/usr/bin/prometheus cargo test … -- --ignored
//! record_expositions` records it anew.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use millrace_kit::tasks::Tasks;
use millrace_sidecar::{
    discovery::{self, Target},
    scrape::{self, Client, Session, parse},
    series::{Bounds, Store},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::differential::prometheus::Prometheus;

const ANSWERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/exposition/answers.json");

/// Where we are more lenient or stricter on purpose.
fn different() -> Vec<(String, String)> {
    serde_json::from_str(include_str!("different.json")).unwrap()
}

/// `up`, and the samples by labels; values as text, since NaN is one.
type Answer = (bool, BTreeMap<String, String>);

fn cases() -> Vec<(String, String)> {
    serde_json::from_str(include_str!("cases.json")).unwrap()
}

fn content_type(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "text" => "text/plain; version=0.0.4; charset=utf-8",
        "om" => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        "html" => "text/html",
        "json" => "application/json",
        "plain1" => "text/plain; version=1.0.0",
        "plainbare" => "text/plain",
        "textstar" => "text/anything",
        "proto" => "application/x-unknown",
        _ => return None,
    })
}

/// Answers `/c/N` with case N.
async fn serve(tasks: &Tasks) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cases, spawner) = (Arc::new(cases()), tasks.clone());
    tasks.spawn_until_stop("expositions", async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let cases = cases.clone();
            spawner.spawn("answer", async move {
                let _ = answer(connection, &cases).await;
            });
        }
    });
    address
}

async fn answer(connection: TcpStream, cases: &[(String, String)]) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut first = String::new();
    connection.read_line(&mut first).await?;
    let mut line = first.clone();
    while !line.trim().is_empty() {
        line.clear();
        connection.read_line(&mut line).await?;
    }
    let number: usize = first.split(['/', ' ']).nth(3).unwrap().parse().unwrap();
    let (kind, body) = &cases[number];
    let kind = content_type(kind).map_or(String::new(), |kind| format!("Content-Type: {kind}\r\n"));
    let head =
        format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    connection.get_mut().write_all(format!("{head}{body}").as_bytes()).await?;
    connection.get_mut().shutdown().await
}

async fn ours(address: std::net::SocketAddr, number: usize) -> Answer {
    let settings = scrape::Settings {
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(10),
        max_body_bytes: 1 << 20,
        max_samples: 1000,
        limits: parse::Limits::default(),
    };
    let config = discovery::Config {
        url: format!("http://{address}/c/{number}"),
        job: "c".to_owned(),
        ..discovery::Config::default()
    };
    let target = Arc::new(Target::new(&config).unwrap());
    let fetched = Client::new(&settings).unwrap().get(&target.url).await;
    let store =
        Store::new(Bounds { retention: Duration::from_secs(86_400), max_series: 1000, max_bytes: 1 << 24 });
    let report = Session::new(target, settings).record(&store, 1000, fetched, Duration::ZERO);
    let found = store.select(&[], 0, i64::MAX, 10_000).unwrap();
    let rows = found.into_iter().filter_map(|series| {
        let pairs = series.labels.iter().filter(|label| !["job", "instance"].contains(&&*label.name));
        let pairs: BTreeMap<&str, &str> = pairs.map(|label| (&*label.name, &*label.value)).collect();
        let name = pairs.get("__name__").copied().unwrap_or_default();
        let value = series.samples.last()?.value;
        let own = name == "up" || name.starts_with("scrape_");
        (!own).then(|| (serde_json::to_string(&pairs).unwrap(), format!("{value:?}")))
    });
    (report.error.is_none(), rows.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_and_samples_are_those_of_prometheus() {
    let answers: Vec<Answer> = serde_json::from_str(&std::fs::read_to_string(ANSWERS).unwrap()).unwrap();
    let (cases, different) = (cases(), different());
    assert_eq!(answers.len(), cases.len(), "the cases have changed: record anew");
    let tasks = Tasks::new();
    let address = serve(&tasks).await;
    let mut wrong = Vec::new();
    for (number, (case, theirs)) in cases.iter().zip(&answers).enumerate() {
        let ours = ours(address, number).await;
        let differs = different.contains(case);
        if (ours == *theirs) == differs {
            wrong.push(format!("{case:?}\n  ours: {ours:?}\ntheirs: {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 150, "{}", cases.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "records the answers of the Prometheus 3 named by MILLRACE_PROMETHEUS"]
async fn record_expositions() {
    let program = std::env::var("MILLRACE_PROMETHEUS").expect("MILLRACE_PROMETHEUS names the program");
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let address = serve(&tasks).await;
    let count = cases().len();
    let job = |number| {
        format!(
            "- {{job_name: c{number}, metrics_path: /c/{number}, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{{targets: [\"{address}\"]}}]}}\n"
        )
    };
    let settings = format!("scrape_configs:\n{}", (0..count).map(job).collect::<String>());
    let prometheus = Prometheus::start(&program, folder.path(), &settings).await;
    let ask = async |query: String| {
        let answer = prometheus.ask("/api/v1/query", &[("query", query)]).await;
        answer["data"]["result"].as_array().unwrap().clone()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while ask("up".to_owned()).await.len() < count {
        assert!(std::time::Instant::now() < deadline, "not every case is scraped");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut answers: Vec<Answer> = Vec::new();
    for number in 0..count {
        let up = ask(format!("up{{job=\"c{number}\"}}")).await;
        let rows = ask(format!("{{job=\"c{number}\",__name__!~\"up|scrape_.*\"}}")).await;
        let row = |row: &serde_json::Value| {
            let mut metric: BTreeMap<String, String> = serde_json::from_value(row["metric"].clone()).unwrap();
            metric.retain(|name, _| !["job", "instance"].contains(&name.as_str()));
            let value: f64 = row["value"][1].as_str().unwrap().replace("+Inf", "inf").parse().unwrap();
            (serde_json::to_string(&metric).unwrap(), format!("{value:?}"))
        };
        answers.push((up[0]["value"][1] == "1", rows.iter().map(row).collect()));
    }
    let lines: Vec<String> = answers.iter().map(|answer| serde_json::to_string(answer).unwrap()).collect();
    std::fs::write(Path::new(ANSWERS), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
}
