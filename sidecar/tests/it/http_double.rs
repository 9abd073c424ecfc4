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
    posted: Vec<String>,
}

impl Double {
    pub async fn start(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script { status: 200, body: body.to_owned(), posted: Vec::new() }));
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
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        post |= line.starts_with("POST ");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
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
        format!(
            "HTTP/1.1 {} Scripted\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
            script.status,
            script.body.len(),
            script.body
        )
    };
    connection.get_mut().write_all(head_and_body.as_bytes()).await?;
    connection.get_mut().shutdown().await
}
