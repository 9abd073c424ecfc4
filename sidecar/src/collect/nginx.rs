//! nginx's `stub_status`, under the names of nginx-prometheus-exporter.

use std::time::Duration;

use url::Url;

use super::{Error, Exposition};
use crate::scrape::innermost;

const MAX_BYTES: usize = 64 * 1024;
/// The caller's bound is usually shorter.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Nginx {
    http: reqwest::Client,
    url: Url,
}

impl Nginx {
    pub(super) fn new(url: &Url) -> Result<Self, Error> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let http = http.timeout(TIMEOUT).build().map_err(|reason| Error::Connection(reason.to_string()))?;
        Ok(Self { http, url: url.clone() })
    }

    pub(super) async fn collect(&self) -> Result<Exposition, Error> {
        let failed = |reason: reqwest::Error| Error::Connection(innermost(&reason));
        let mut answer = self.http.get(self.url.clone()).send().await.map_err(failed)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(Error::Answer(format!("status {}", answer.status().as_u16())));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_BYTES {
                return Err(Error::Answer("too long".to_owned()));
            }
        }
        let text = String::from_utf8_lossy(&body);
        read(&text).ok_or_else(|| Error::Answer("not what stub_status says".to_owned()))
    }
}

fn read(text: &str) -> Option<Exposition> {
    let active = number_after(text, "Active connections:")?;
    let totals =
        text.lines().skip_while(|line| !line.starts_with("server accepts handled requests")).nth(1)?;
    let mut totals = totals.split_whitespace().map(str::parse::<f64>);
    let (accepted, handled, requests) = (totals.next()?.ok()?, totals.next()?.ok()?, totals.next()?.ok()?);
    let mut found = Exposition::default();
    found.gauge("nginx_connections_active", "Client connections, waiting ones included.", active);
    found.counter("nginx_connections_accepted", "Accepted client connections.", accepted);
    found.counter("nginx_connections_handled", "Handled client connections.", handled);
    found.counter("nginx_http_requests_total", "Client requests.", requests);
    for (name, what, help) in [
        ("nginx_connections_reading", "Reading:", "Connections whose request head is being read."),
        ("nginx_connections_writing", "Writing:", "Connections to which an answer is being written."),
        ("nginx_connections_waiting", "Waiting:", "Idle connections."),
    ] {
        found.gauge(name, help, number_after(text, what)?);
    }
    Some(found)
}

fn number_after(text: &str, what: &str) -> Option<f64> {
    text.split_once(what)?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stub_status_is_read() {
        let text = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630947 31070465 \nReading: 6 Writing: 179 Waiting: 106 \n";
        let found = read(text).unwrap().into_text();
        for line in [
            "nginx_connections_active 291\n",
            "nginx_connections_handled 16630947\n",
            "nginx_http_requests_total 31070465\n",
            "nginx_connections_waiting 106\n",
        ] {
            assert!(found.contains(line), "{line}{found}");
        }
        assert!(read("<html>Welcome to nginx!</html>").is_none());
    }
}
