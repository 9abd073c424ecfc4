//! Asking a running server's admin port: requests that need no HTTP client.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// The server's own setting `admin.token`, in the environment.
pub const TOKEN: &str = "MILLRACE__ADMIN__TOKEN";

/// An answer, as far as it is of interest.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// `admin` is an address and port, with or without `http://`.
pub fn get(admin: &str, path: &str, token: &str, patience: Duration) -> io::Result<Answer> {
    ask(admin, &format!("GET {path}"), &bearer(token), "", patience)
}

pub fn post_json(admin: &str, path: &str, token: &str, json: &str, patience: Duration) -> io::Result<Answer> {
    let length = json.len();
    let fields = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n{}", bearer(token));
    ask(admin, &format!("POST {path}"), &fields, json, patience)
}

fn bearer(token: &str) -> String {
    if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") }
}

fn ask(admin: &str, line: &str, fields: &str, body: &str, patience: Duration) -> io::Result<Answer> {
    /// No answer of ours is longer.
    const MAX_ANSWER: u64 = 1 << 20;
    let address = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(patience))?;
    connection.set_write_timeout(Some(patience))?;
    let request = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}\r\n{body}");
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.take(MAX_ANSWER).read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is no HTTP server"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}
