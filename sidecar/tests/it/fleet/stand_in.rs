//! A stand-in for the server, as a process of its own: this test program, told by its environment to be one.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use millrace_kit::tasks::Tasks;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::service::{self, Request};

const TOLD: &str = "MILLRACE_STAND_IN";

/// `[process]` of a fleet of stand-ins. `manner` is `good`, or `dies` for one that ends at once.
pub fn process(ports: (u16, u16), manner: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "[process]\ncommand = [{program:?}, '--ignored', '--exact', '--nocapture', 'fleet::stand_in::serve']\n\
         environment = {{ {TOLD} = '{{data}} {{admin}} {{name}} {manner}' }}\ndata_port = {}\nadmin_port = {}\n",
        ports.0, ports.1
    )
}

/// Answers with its name; is warm at the third question; when told to stop it finishes what it has.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the stand-in itself, which other tests start"]
async fn serve() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let words: Vec<_> = told.split(' ').map(str::to_owned).collect();
    let [data, admin, name, manner] = words.as_slice() else { panic!("{told}") };
    println!("{name} began");
    if manner == "dies" {
        println!("no origin is configured");
        std::process::exit(64);
    }
    let mut term = signal(SignalKind::terminate()).unwrap();
    let tasks = Tasks::new();
    let (data, admin) = (TcpListener::bind(data).await.unwrap(), TcpListener::bind(admin).await.unwrap());
    let (own_name, named) = (name.clone(), name.clone());
    service::serve(&tasks, data, move |_| (200, own_name.clone()));
    let asked = AtomicU32::new(0);
    service::serve(&tasks, admin, move |request: &Request| {
        match (request.method.as_str(), request.target.as_str()) {
            (_, "/health/ready") => (200, "{}".to_owned()),
            (_, "/metrics") => (200, "http_server_active_requests 0\n".to_owned()),
            ("POST", "/api/v1/cache/warm") => {
                println!("{named} is told {}", request.body);
                asked.store(1, Ordering::Relaxed);
                (202, "{}".to_owned())
            }
            ("GET", "/api/v1/cache/warm") => match asked.load(Ordering::Relaxed) {
                0 => (200, r#"{"state":"idle","ratio":null}"#.to_owned()),
                3.. => (200, r#"{"state":"done","bytes":7,"ratio":0.9}"#.to_owned()),
                _ => {
                    asked.fetch_add(1, Ordering::Relaxed);
                    (200, r#"{"state":"running","ratio":0.4}"#.to_owned())
                }
            },
            (_, target) if target.starts_with("/api/v1/cache/hot") => {
                let hot =
                    |name: &str| format!(r#"{{"id":"1","name":"{name}","url":"/a","bytes":5,"hits":1}}"#);
                (200, format!(r#"{{"objects":[{},{}],"bytes":10}}"#, hot("all"), hot(&format!("of {named}"))))
            }
            _ => (404, String::new()),
        }
    });
    term.recv().await;
    tasks.drain(Duration::from_secs(5)).await;
}
