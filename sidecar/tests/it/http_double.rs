//! A tiny HTTP server for tests: a target whose exposition is a text that tests change, or a receiver that remembers
//! what was posted to it.

use std::{net::SocketAddr, sync::Arc};

use millrace_kit::tasks::Tasks;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

pub struct Double {
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    _tasks: Tasks,
}

struct Script {
    status: u16,
    body: String,
    /// Part of the request's target → body.
    special: Vec<(String, String)>,
    posted: Vec<String>,
    heads: Vec<String>,
}

impl Double {
    pub async fn start(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Script {
            status: 200,
            body: body.to_owned(),
            special: Vec::new(),
            posted: Vec::new(),
            heads: Vec::new(),
        };
        let script = Arc::new(Mutex::new(script));
        let tasks = Tasks::new();
        let (shared, spawner) = (script.clone(), tasks.clone());
        tasks.spawn_until_stop("double", async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let script = shared.clone();
                spawner.spawn("answer", async move {
                    let _ = answer(connection, &script).await;
                });
            }
        });
        Self { address, script, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn expose(&self, body: impl Into<String>) {
        let mut script = self.script.lock();
        script.status = 200;
        script.body = body.into();
    }

    pub fn fail(&self, status: u16) {
        self.script.lock().status = status;
    }

    /// Answers requests whose target contains `part` with something else.
    pub fn expose_at(&self, part: &str, body: &str) {
        self.script.lock().special.push((part.to_owned(), body.to_owned()));
    }

    /// Heads of requests since the last call.
    pub fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.script.lock().heads)
    }

    /// Bodies of POSTs since the last call.
    pub fn posted(&self) -> Vec<serde_json::Value> {
        let posted = std::mem::take(&mut self.script.lock().posted);
        posted.iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }
}

async fn answer(connection: TcpStream, script: &Mutex<Script>) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut length = 0;
    let mut post = false;
    let mut head = String::new();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        post |= line.starts_with("POST ");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head += &line;
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    let head_and_body = {
        let mut script = script.lock();
        if post && script.status == 200 {
            script.posted.push(String::from_utf8(body).unwrap());
        }
        let target = head.split(' ').nth(1).unwrap_or_default();
        let special = script.special.iter().find(|(part, _)| target.contains(part.as_str()));
        let body = special.map_or(&script.body, |(_, body)| body).clone();
        script.heads.push(head);
        format!(
            "HTTP/1.1 {} Scripted\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
            script.status,
            body.len(),
            body
        )
    };
    connection.get_mut().write_all(head_and_body.as_bytes()).await?;
    connection.get_mut().shutdown().await
}
