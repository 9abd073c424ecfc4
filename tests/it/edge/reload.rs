//! A configuration that is changed while the server runs.

use std::path::PathBuf;

use rustix::process::Signal;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    BLOCK,
    client::{self, Open, is_pattern},
    eventually,
    process::Process,
};
use crate::origin_double::{Answer, Gate, OriginDouble};

/// A server with a file of settings.
struct Configured {
    process: Process,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Configured {
    fn start(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("millrace.toml");
        std::fs::write(&file, settings).unwrap();
        let process = Process::with(&["--config".as_ref(), file.as_ref()]);
        Self { process, file, _dir: dir }
    }

    fn reload(&self, settings: &str) {
        // In one step: the server may be reading.
        let new = self.file.with_extension("new");
        std::fs::write(&new, settings).unwrap();
        std::fs::rename(new, &self.file).unwrap();
        self.process.signal(Signal::HUP);
    }

    async fn metrics_have(&self, line: &str) -> bool {
        let metrics = self.process.admin("/metrics").await;
        String::from_utf8(metrics.body).unwrap().lines().any(|found| found == line)
    }

    /// The settings in force.
    async fn in_force(&self) -> serde_json::Value {
        serde_json::from_slice(&self.process.admin("/api/v1/config").await.body).unwrap()
    }

    async fn has_routes(&self, count: usize) -> bool {
        self.in_force().await["routes"].as_array().unwrap().len() == count
    }
}

fn origin(name: &str, of: &OriginDouble) -> String {
    format!("[[origins]]\nname = {name:?}\nurl = {:?}\nallow_private = true\n", of.url())
}

fn route(path: &str, origins: &[&str], more: &str) -> String {
    format!("[[routes]]\npath = {path:?}\norigins = {origins:?}\n{more}\n")
}

#[tokio::test]
async fn origins_and_routes_change_and_nobody_is_cut_off() {
    let (a, b) = (OriginDouble::start().await, OriginDouble::start().await);
    let gate = Gate::new();
    a.on("/kept", Answer::ok("a").cache_control("max-age=60"));
    a.on("/new/x", Answer::ok("a").cache_control("no-store"));
    a.on("/long", Answer::pattern(2 * BLOCK, 1).etag("\"1\"").gate_at(BLOCK, &gate));
    b.on("/new/x", Answer::ok("b").cache_control("no-store"));
    let before = origin("a", &a);
    let server = Configured::start(&before);
    eventually("it is stored", async || server.process.get("/kept").await.cache() == "HIT").await;
    assert_eq!(server.process.get("/new/x").await.text(), "a");
    let mut long = client::open(server.process.data, "GET", "/long", &[], b"").await;
    long.next(10).await;

    let rate = "[routes.rate]\nrequests = 1\nper_secs = 3600\nburst = 1";
    let after =
        before.clone() + &origin("b", &b) + &route("/new", &["b"], "") + &route("/slow", &["a"], rate);
    server.reload(&after);
    eventually("two routes", async || server.has_routes(2).await).await;
    assert_eq!(server.process.get("/new/x").await.text(), "b");
    assert_eq!((server.process.get("/kept").await.cache(), a.hits("/kept")), ("HIT", 1));
    assert_eq!(server.process.get("/slow/x").await.status, 404);
    assert_eq!(server.process.get("/slow/x").await.status, 429);
    let known = "millrace_origin_breaker_state{origin=\"b\"} 0";
    assert!(server.metrics_have(known).await);

    // What is the same is not begun anew.
    server.reload(&(after + "[breaker]\nopen_ms = 1234\n"));
    eventually("the other setting", async || server.in_force().await["breaker"]["open_ms"] == 1234).await;
    assert_eq!(server.process.get("/slow/x").await.status, 429);

    // And away again.
    server.reload(&before);
    eventually("no routes", async || server.has_routes(0).await).await;
    assert_eq!(server.process.get("/new/x").await.text(), "a");
    assert_eq!(server.process.get("/slow/x").await.status, 404);
    assert!(!server.metrics_have(known).await, "an origin that there is no more");

    gate.release();
    let long = long.whole().await;
    assert!(is_pattern(&long.body, 1, 10..2 * BLOCK), "what was under way came to its end");
    assert_eq!(a.hits("/long"), 1);
}

#[tokio::test]
async fn what_is_not_good_changes_nothing() {
    let a = OriginDouble::start().await;
    a.on("/x", Answer::ok("x").cache_control("max-age=60"));
    let good = origin("a", &a);
    let mut server = Configured::start(&good);
    let is_good = "millrace_config_last_reload_successful 1";
    assert!(server.metrics_have(is_good).await);
    for bad in [
        "[[origins]]\nurl = \"gopher://a\"\n".to_owned(),
        good.clone() + &route("/x", &["nowhere"], ""),
        "this is no TOML".to_owned(),
    ] {
        server.reload(&bad);
        let refused = "millrace_config_last_reload_successful 0";
        eventually("it is refused", async || server.metrics_have(refused).await).await;
        assert_eq!(server.process.get("/x").await.status, 200);
        assert!(server.has_routes(0).await);
        server.reload(&good);
        eventually("it is good again", async || server.metrics_have(is_good).await).await;
    }
    // What cannot change while it runs is said, and does not.
    server.reload(&(good.clone() + &route("/y", &["a"], "") + "[cache]\nshow_keys = true\n"));
    eventually("a route", async || server.has_routes(1).await).await;
    assert_eq!(server.in_force().await["cache"]["show_keys"], false);
    server.process.signal(Signal::TERM);
    let complaints = server.process.complaints();
    for part in ["the old one stays: ", "nowhere", "gopher", "in cache waits for the next start"] {
        assert!(complaints.contains(part), "{part}: {complaints}");
    }
}

#[tokio::test]
async fn a_hundred_reloads_drop_no_connection() {
    let a = OriginDouble::start().await;
    a.on("/x", Answer::ok("x").cache_control("no-store"));
    let settings = [origin("a", &a), origin("a", &a) + &route("/x", &["a"], "")];
    let server = Configured::start(&settings[0]);
    let mut stream = TcpStream::connect(server.process.data).await.unwrap();
    for turn in 0..100 {
        server.reload(&settings[turn % 2]);
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: edge.example\r\n\r\n").await.unwrap();
        let reply;
        (reply, stream) = Open::read(stream, false).await.whole_and_on().await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "x"));
        if turn % 10 == 9 {
            eventually("its turn", async || server.has_routes(turn % 2).await).await;
        }
    }
}

#[tokio::test]
async fn origins_that_are_taken_out_are_not_heard_of_again() {
    let [a, b, c] = [OriginDouble::start().await, OriginDouble::start().await, OriginDouble::start().await];
    a.on_any(Answer::ok("a").cache_control("no-store"));
    // Whoever goes on with probes gets there.
    b.on_any(Answer::empty(500).times(3));
    b.on_any(Answer::ok("b"));
    let gate = Gate::new();
    c.on("/c/long", Answer::pattern(2 * BLOCK, 1).etag("\"1\"").gate_at(BLOCK, &gate));
    let breaker = "[breaker]\nopen_ms = 50\nopen_max_ms = 50\nwait_ms = 0\n";
    let (kept, its_route) = (origin("a", &a), route("/a", &["a"], ""));
    let others = origin("b", &b) + &origin("c", &c);
    let their_routes = route("/b", &["b"], "") + &route("/c", &["c"], "");
    let server = Configured::start(&format!("{kept}{others}{its_route}{their_routes}{breaker}"));
    let series = |name: &str| format!("millrace_origin_breaker_state{{origin=\"{name}\"}}");
    for (name, down) in [("a", &a), ("b", &b)] {
        down.go_down().await;
        assert!(server.process.get(&format!("/{name}/x")).await.status >= 500);
        let open = format!("{} 2", series(name));
        eventually("an open breaker", async || server.metrics_have(&open).await).await;
    }
    let mut long = client::open(server.process.data, "GET", "/c/long", &[], b"").await;
    long.next(10).await;

    server.reload(&format!("{kept}{its_route}{breaker}"));
    let are_gone = async || {
        let metrics = server.process.admin("/metrics").await.text();
        ["b", "c"].iter().all(|name| !metrics.contains(&series(name)))
    };
    eventually("two of them are gone", async || are_gone().await).await;
    // What is under way finds out that its origin is down.
    c.go_down().await;
    assert!(long.finish().await.is_err(), "there is nobody to go on with it");
    assert!(are_gone().await);
    // When the one that was kept has been probed, the other would have been.
    b.come_back().await;
    a.come_back().await;
    let closed = format!("{} 0", series("a"));
    eventually("a closed breaker", async || server.metrics_have(&closed).await).await;
    for number in 0..3 {
        assert_eq!(server.process.get(&format!("/a/{number}")).await.text(), "a");
        assert!(are_gone().await);
    }
    // One probe may have been under way.
    assert!(b.total_hits() <= 1, "{} probes", b.total_hits());
}
