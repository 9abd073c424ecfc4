//! The access log of the program: the same words as in the answers, and nothing secret.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{client, eventually};
use crate::origin_double::{Answer, OriginDouble};

/// Logs in JSON. Killed when dropped.
struct Program {
    child: Child,
    data: SocketAddr,
    admin: SocketAddr,
}

impl Program {
    fn start(origin: &OriginDouble) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--memory", "64MiB"])
            .args(["--disk", "0", "--workers", "1", "--origin", &origin.url()])
            .env("MILLRACE__LOG__FILTER", "info,access=debug")
            .env("MILLRACE__LOG__FORMAT", "json")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = || said.next().unwrap().unwrap().rsplit('/').next().unwrap().parse().unwrap();
        Self { data: address(), admin: address(), child }
    }

    /// Waits until nothing is being filled any more.
    async fn settled(&self) {
        eventually("a server at rest", async || {
            self.metrics().await.lines().any(|line| line == "millrace_fills_in_flight 0")
        })
        .await;
    }

    async fn metrics(&self) -> String {
        client::open(self.admin, "GET", "/metrics", &[("host", "localhost")], b"").await.whole().await.text()
    }

    /// What it has logged by the end of so many answers.
    async fn logged(mut self, answers: usize) -> Vec<Value> {
        let count = "http_server_request_duration_seconds_count{";
        eventually("all answers at their end", async || {
            let metrics = self.metrics().await;
            let counts = metrics.lines().filter(|line| line.starts_with(count));
            let counts = counts.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap());
            counts.sum::<usize>() == answers
        })
        .await;
        self.child.kill().unwrap();
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(!text.contains("cret"), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn each_answer_leaves_a_line_with_the_words_of_its_fields() {
    let origin = OriginDouble::start().await;
    origin.on("/hit", Answer::ok("hello").cache_control("max-age=60"));
    origin.on("/private", Answer::ok("mine").cache_control("private").header("set-cookie", "id=s3cret"));
    origin.on("/down", Answer::hang_up());
    let program = Program::start(&origin);
    let cookie = ("cookie", "id=s4cret");
    let steps = [
        ("GET", "/hit?token=s6cret", "miss", "uri-miss"),
        ("GET", "/hit?token=s6cret", "hit", "fresh"),
        ("GET", "/private", "bypass", "private"),
        ("GET", "/none", "miss", "not-found"),
        ("GET", "/../x", "error", "bad-request"),
        ("POST", "/hit", "bypass", "method"),
        ("GET", "/down?token=s6cret", "error", "broken_body"),
    ];
    let mut replies = Vec::new();
    for (number, (method, target, ..)) in steps.into_iter().enumerate() {
        let id = number.to_string();
        let fields = [("x-request-id", &*id), cookie];
        replies.push(client::open(program.data, method, target, &fields, b"").await.whole().await);
        program.settled().await;
    }
    let logged = program.logged(steps.len()).await;
    for (number, ((method, target, outcome, reason), reply)) in steps.into_iter().zip(replies).enumerate() {
        let id = Value::from(number.to_string());
        let lines: Vec<_> =
            logged.iter().filter(|line| line["target"] == "access" && line["id"] == id).collect();
        let [line] = lines[..] else { panic!("{target}: {lines:?}") };
        assert_eq!((&line["method"], &line["level"]), (&method.into(), &"DEBUG".into()), "{line}");
        assert_eq!(line["path"], target.split('?').next().unwrap(), "{line}");
        assert_eq!((&line["outcome"], &line["reason"]), (&outcome.into(), &reason.into()), "{line}");
        assert_eq!(reply.cache(), outcome.to_uppercase(), "{line}");
        assert_eq!(line["cache_status"], reply.field("cache-status"), "{line}");
        assert_eq!(
            (&line["status"], &line["bytes"]),
            (&reply.status.into(), &reply.body.len().into()),
            "{line}"
        );
    }
    let warned = logged.iter().find(|line| line["level"] == "WARN").expect("a warning");
    assert_eq!((&warned["span"]["path"], &warned["span"]["id"]), (&"/down".into(), &"6".into()), "{warned}");
}
