//! A small HTTP server whose answers a function gives.

use std::{sync::Arc, time::Duration};

use millrace_kit::tasks::Tasks;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// Is answered after a while, so that there is something to wait for.
pub const SLOW: &str = "/slow";

pub struct Request {
    pub method: String,
    /// With its query.
    pub target: String,
    pub body: serde_json::Value,
}

pub type Answer = (u16, String);

/// Each connection brings one request. Ends with `tasks`.
pub fn serve(
    tasks: &Tasks,
    listener: TcpListener,
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) {
    let (answer, spawner) = (Arc::new(answer), tasks.clone());
    tasks.spawn_until_stop("service", async move {
        while let Ok((connection, _)) = listener.accept().await {
            let answer = answer.clone();
            spawner.spawn("answer", async move {
                let _ = respond(connection, &*answer).await;
            });
        }
    });
}

async fn respond(connection: TcpStream, answer: impl Fn(&Request) -> Answer) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    let (mut length, mut head) = (0, String::new());
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    let mut words = head.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let body = serde_json::from_slice(&body).unwrap_or_default();
    if target == SLOW {
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let (status, text) = answer(&Request { method, target, body });
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    );
    connection.get_mut().write_all(answer.as_bytes()).await?;
    connection.get_mut().shutdown().await
}
