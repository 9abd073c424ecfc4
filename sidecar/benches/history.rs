//! A day of a fleet in memory: bytes per sample, and how long the dashboard's queries take over it.
//!
//! `cargo bench -p millrace-sidecar --bench history`. Samples go straight to the store: 10,000 series every 15 s for 24 h, as 33
//! servers expose them. Each query of the sidecar's own page, and each of `dashboards/` that finds something among them, runs with the
//! steps and windows that the page and Grafana ask for.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench tells its figures and fails by panicking"
)]

use std::time::{Duration, Instant};

use millrace_sidecar::{
    model::{Labels, Sample},
    promql::{Options, Query},
    scrape::{SeriesId, Sink},
    series::{Bounds, Store},
};

const SERVERS: u64 = 33;
const SERIES: usize = 10_000;
const STEP_SECS: i64 = 15;
const DAY_SECS: i64 = 86_400;
/// As the sidecar has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 2026-01-01T00:00:00Z
const START: i64 = 1_767_225_600;
/// Of each query and range, unless the environment has `RUNS`.
const RUNS: usize = 30;

const CACHED: &str = r#"outcome=~"hit|stale|revalidated""#;

/// How a series moves.
#[derive(Clone, Copy)]
enum Course {
    /// Counts about so many per scrape, unevenly.
    Counter(u64),
    /// Counts bytes.
    Bytes(u64),
    /// Sums durations, to the last bit of a float.
    Seconds(u64),
    Gauge(u64),
    /// A share, never the same twice.
    Ratio,
    Constant,
}

struct Line {
    id: SeriesId,
    course: Course,
    value: f64,
    seed: u64,
}

fn noise(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn lines(store: &Store) -> Vec<Line> {
    let mut lines = Vec::new();
    for server in 0..SERVERS {
        let instance = format!("edge-{server}:8081");
        let mut add = |name: &str, labels: &[(&str, &str)], course| {
            let common = [("__name__", name), ("job", "millrace"), ("instance", instance.as_str())];
            let labels = Labels::from_pairs(common.into_iter().chain(labels.iter().copied()));
            let seed = 0x9e37_79b9_7f4a_7c15 ^ (lines.len() as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
            lines.push(Line { id: store.intern(&labels).unwrap(), course, value: 0.0, seed });
        };
        for (route, code, rate) in [
            ("asset", "200", 900),
            ("asset", "304", 40),
            ("image", "200", 300),
            ("video", "206", 90),
            ("asset", "404", 2),
        ] {
            let labels =
                [("http_request_method", "GET"), ("http_route", route), ("http_response_status_code", code)];
            for (bucket, bound) in
                "0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 +Inf"
                    .split(' ')
                    .enumerate()
            {
                let mut labels = labels.to_vec();
                labels.push(("le", bound));
                let share = rate * (bucket as u64 + 1).min(12) / 12;
                add("http_server_request_duration_seconds_bucket", &labels, Course::Counter(share));
            }
            add("http_server_request_duration_seconds_sum", &labels, Course::Seconds(rate));
            add("http_server_request_duration_seconds_count", &labels, Course::Counter(rate));
        }
        for route in ["asset", "image", "video", "playlist", "segment"] {
            for (outcome, rate) in
                [("hit", 500), ("revalidated", 5), ("stale", 1), ("miss", 60), ("bypass", 0), ("error", 0)]
            {
                for reason in ["fresh", "expired"] {
                    let labels = [("route", route), ("outcome", outcome), ("reason", reason)];
                    add("millrace_cache_requests_total", &labels, Course::Counter(rate));
                }
                let labels = [("route", route), ("outcome", outcome)];
                add("millrace_cache_response_bytes_total", &labels, Course::Bytes(rate * 40_000));
            }
        }
        for origin in ["a", "b"] {
            for (result, rate) in
                [("answered", 60), ("missing", 2), ("timeout", 0), ("refused", 0), ("status", 0)]
            {
                add(
                    "millrace_origin_requests_total",
                    &[("origin", origin), ("result", result)],
                    Course::Counter(rate),
                );
            }
        }
        add("millrace_origin_response_bytes_total", &[], Course::Bytes(3_000_000));
        for origin in ["a", "b"] {
            for (bucket, bound) in
                "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 +Inf".split(' ').enumerate()
            {
                let labels = [("origin", origin), ("http_response_status_code", "200"), ("le", bound)];
                let share = 60 * (bucket as u64 + 1).min(9) / 9;
                add("http_client_request_duration_seconds_bucket", &labels, Course::Counter(share));
            }
        }
        for queue in ["image", "video", "poster"] {
            add("millrace_queue_depth", &[("queue", queue)], Course::Gauge(6));
        }
        for other in 0..66u32 {
            let course = match other % 8 {
                0 | 4 => Course::Gauge(1000),
                1 => Course::Ratio,
                _ => Course::Constant,
            };
            add("other", &[("n", &other.to_string())], course);
        }
    }
    lines
}

fn fill(store: &Store) -> usize {
    let mut lines = lines(store);
    lines.truncate(SERIES);
    for step in 0..DAY_SECS / STEP_SECS {
        let at = (START + step * STEP_SECS) * 1000;
        let mut batch = Vec::with_capacity(lines.len());
        for line in &mut lines {
            let random = noise(&mut line.seed);
            match line.course {
                Course::Counter(0) => {}
                Course::Counter(rate) => line.value += (rate / 2 + random % rate.max(2)) as f64,
                Course::Bytes(0) => {}
                Course::Bytes(rate) => line.value += (rate / 2 + random % rate) as f64,
                Course::Seconds(rate) => {
                    line.value += (random % rate.max(1)) as f64 * (random as f64 / u64::MAX as f64 / 97.0)
                }
                Course::Ratio => line.value = random as f64 / u64::MAX as f64,
                Course::Gauge(most) if random.is_multiple_of(4) => line.value = (random / 4 % most) as f64,
                Course::Gauge(_) | Course::Constant => {}
            }
            batch.push((line.id, Sample { at, value: line.value }));
        }
        assert_eq!(store.append(&batch).accepted, batch.len());
    }
    lines.len()
}

/// Of every panel, with the title of its dashboard and its own; all servers chosen.
fn grafana(step: i64) -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards");
    // As Grafana has it, of a data source whose scrapes come every 15 s.
    let window = (step + STEP_SECS).max(4 * STEP_SECS);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let board: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let text =
                    target["expr"].as_str().unwrap().replace("$__rate_interval", &format!("{window}s"));
                let text = text.replace("$instance", ".*").replace("$pool", ".*");
                let title =
                    format!("{}: {}", board["title"].as_str().unwrap(), panel["title"].as_str().unwrap());
                found.push((title, text));
            }
        }
    }
    found.sort();
    found
}

/// Of the page's overview.
fn page(window: i64) -> Vec<(String, String)> {
    let quantile = |phi: f64| {
        format!(
            "histogram_quantile({phi}, sum by (le) (rate(http_server_request_duration_seconds_bucket[{window}s])))"
        )
    };
    let cached = format!("sum(rate(millrace_cache_requests_total{{{CACHED}}}[{window}s]))");
    let cacheable = format!("sum(rate(millrace_cache_requests_total{{outcome!=\"bypass\"}}[{window}s])) > 0");
    let queries = [
        ("outcomes", format!("sum by (outcome) (rate(millrace_cache_requests_total[{window}s]))")),
        (
            "shares",
            format!(
                "sum by (outcome) (rate(millrace_cache_requests_total{{{CACHED}}}[{window}s])) / scalar({cacheable})"
            ),
        ),
        ("ratio", format!("({cached} or vector(0)) / ({cacheable})")),
        ("p50", quantile(0.5)),
        ("p95", quantile(0.95)),
        ("p99", quantile(0.99)),
        ("origin", format!("sum by (result) (rate(millrace_origin_requests_total[{window}s]))")),
        (
            "originP95",
            format!(
                "histogram_quantile(0.95, sum by (origin, le) (rate(http_client_request_duration_seconds_bucket[{window}s])))"
            ),
        ),
        ("sent", format!("sum(rate(millrace_cache_response_bytes_total[{window}s]))")),
        ("fetched", format!("sum(rate(millrace_origin_response_bytes_total[{window}s]))")),
        ("asked", format!("sum by (origin) (rate(millrace_origin_requests_total[{window}s]))")),
        (
            "failed",
            format!(
                "sum by (origin) (rate(millrace_origin_requests_total{{result!~\"answered|missing\"}}[{window}s]))"
            ),
        ),
        ("queue", "max by (queue) (millrace_queue_depth)".to_owned()),
    ];
    queries.map(|(name, text)| (name.to_owned(), text)).to_vec()
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len()) - 1;
    sorted[at].as_secs_f64() * 1000.0
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Seconds of CPU time that this process has taken: a machine that is busy otherwise does not count.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn main() {
    let runs = std::env::var("RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    let empty = resident();
    let store = Store::new(Bounds {
        retention: Duration::from_secs(2 * DAY_SECS as u64),
        max_series: 20_000,
        max_bytes: 2 << 30,
    });
    let begun = Instant::now();
    let series = fill(&store);
    let stats = store.stats();
    println!(
        "{series} series, {} samples in {:.1} s; {:.2} bytes per sample by our own count, {:.2} resident; labels and index included",
        stats.samples,
        begun.elapsed().as_secs_f64(),
        stats.bytes as f64 / stats.samples as f64,
        (resident() - empty) as f64 / stats.samples as f64
    );
    println!(
        "\n| asked by | range, step | queries | p50 ms | p95 ms | p99 ms | slowest query | its CPU time, ms | of all queries, ms |\n|---|---|---|---|---|---|---|---|---|"
    );
    for (name, range) in [("15m", 900), ("1h", 3_600), ("6h", 21_600), ("24h", DAY_SECS)] {
        // 180 points, windows of at least four scrapes.
        let step = STEP_SECS.max((range + 179) / 180);
        ask(&store, "page", (name, range, step), page((4 * STEP_SECS).max(step)), runs);
    }
    // Of panels that are some 700 pixels wide, rounded as Grafana rounds.
    for (name, range, step) in [("1h", 3_600, 15), ("24h", DAY_SECS, 120)] {
        ask(&store, "Grafana", (name, range, step), grafana(step), runs);
    }
}

fn ask(
    store: &Store,
    who: &str,
    (name, range, step): (&str, i64, i64),
    queries: Vec<(String, String)>,
    runs: usize,
) {
    let end = (START + DAY_SECS - STEP_SECS) / step * step;
    let options = Options { max_samples: usize::MAX, ..Options::default() };
    let mut all = Vec::new();
    let mut slowest = (Duration::ZERO, String::new(), 0.0);
    let mut asked = 0;
    let cpu_before = cpu();
    for (query, text) in queries {
        let parsed = Query::parse(&text).unwrap();
        let answer = || parsed.range(store, (end - range) * 1000, end * 1000, step * 1000, &options).unwrap();
        // What finds nothing is quick, and would make the others look so.
        if answer().is_empty() {
            continue;
        }
        asked += 1;
        let mut own = Vec::new();
        let own_cpu = cpu();
        for _ in 0..runs {
            let begun = Instant::now();
            std::hint::black_box(answer());
            own.push(begun.elapsed());
        }
        own.sort();
        if own[runs / 2] > slowest.0 {
            slowest = (own[runs / 2], query, (cpu() - own_cpu) * 1000.0 / runs as f64);
        }
        all.extend(own);
    }
    all.sort();
    println!(
        "| {who} | {name}, {step} s | {asked} | {:.1} | {:.1} | {:.1} | {} {:.1} | {:.1} | {:.1} |",
        percentile(&all, 0.5),
        percentile(&all, 0.95),
        percentile(&all, 0.99),
        slowest.1,
        slowest.0.as_secs_f64() * 1000.0,
        slowest.2,
        (cpu() - cpu_before) * 1000.0 / runs as f64
    );
}
