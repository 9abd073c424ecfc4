//! The HTTP side of a scrape: one GET, bounded in time and size.

use std::{io::Read, time::Duration};

use bytes::{Bytes, BytesMut};
use url::Url;

use super::{Error, Settings, parse::Format};

const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.8,*/*;q=0.1";

#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    timeout: Duration,
    max_body_bytes: usize,
}

#[derive(Debug, Clone)]
pub struct Fetched {
    pub body: Bytes,
    pub format: Format,
}

impl Client {
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("millrace-sidecar/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|reason| Error::Connection(innermost(&reason)))?;
        Ok(Self { http, timeout: settings.timeout, max_body_bytes: settings.max_body_bytes })
    }

    pub async fn get(&self, url: &Url) -> Result<Fetched, Error> {
        let fetched = tokio::time::timeout(self.timeout, self.get_unbounded(url)).await;
        fetched.unwrap_or(Err(Error::Timeout(self.timeout)))
    }

    async fn get_unbounded(&self, url: &Url) -> Result<Fetched, Error> {
        let failed = |reason: reqwest::Error| Error::Connection(innermost(&reason));
        let mut answer = match self.ask(url).await {
            // Most often the target has closed an idle connection at this moment: many do so after five seconds, and some are
            // scraped as often.
            Err(reason) if reason.is_request() && !reason.is_connect() => self.ask(url).await,
            answer => answer,
        }
        .map_err(failed)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(Error::Status(answer.status().as_u16()));
        }
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default();
        let format = Format::of(content_type).ok_or_else(|| Error::ContentType(content_type.to_owned()))?;
        let packed = match answer.headers().get("content-encoding").map(|value| value.as_bytes()) {
            None | Some(b"" | b"identity") => false,
            Some(b"gzip") => true,
            Some(other) => return Err(Error::Encoding(String::from_utf8_lossy(other).into_owned())),
        };
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > self.max_body_bytes {
                return Err(Error::BodyTooLarge(self.max_body_bytes));
            }
            body.extend_from_slice(&piece);
        }
        let body = if packed { unpacked(&body, self.max_body_bytes)? } else { body.freeze() };
        Ok(Fetched { body, format })
    }

    async fn ask(&self, url: &Url) -> reqwest::Result<reqwest::Response> {
        let seconds = self.timeout.as_secs_f64().to_string();
        let request = self.http.get(url.clone()).header("accept", ACCEPT).header("accept-encoding", "gzip");
        request.header("x-prometheus-scrape-timeout-seconds", seconds).send().await
    }
}

/// Bounded: a few bytes may claim to be many.
fn unpacked(packed: &[u8], most: usize) -> Result<Bytes, Error> {
    let mut body = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(packed).take(most as u64 + 1);
    reader.read_to_end(&mut body).map_err(|reason| Error::Connection(format!("gzip: {reason}")))?;
    match body.len() > most {
        true => Err(Error::BodyTooLarge(most)),
        false => Ok(body.into()),
    }
}

/// The reason that helps (`Connection refused`), without the URL.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::{super::parse::Limits, *};

    async fn read_request(connection: &mut TcpStream) {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(connection.read_u8().await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_target_that_closes_an_idle_connection_as_it_is_asked_is_asked_again() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\na 1.0";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/metrics", listener.local_addr().unwrap())).unwrap();
        let target = async {
            for last in [false, true] {
                let (mut connection, _) = listener.accept().await.unwrap();
                read_request(&mut connection).await;
                connection.write_all(answer).await.unwrap();
                if !last {
                    read_request(&mut connection).await;
                }
            }
        };
        let timeout = Duration::from_secs(60);
        let settings = Settings {
            interval: timeout,
            timeout,
            max_body_bytes: 100,
            max_samples: 1,
            limits: Limits::default(),
        };
        let client = Client::new(&settings).unwrap();
        let scrapes = async {
            for _ in 0..2 {
                assert_eq!(client.get(&url).await.unwrap().body, "a 1.0");
            }
        };
        tokio::join!(target, scrapes);
    }

    #[test]
    fn packed_bodies_are_unpacked_up_to_the_bound() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![b'a'; 1 << 20]).unwrap();
        let packed = packer.finish().unwrap();
        assert!(packed.len() < 2048);
        assert_eq!(unpacked(&packed, 1 << 20).unwrap().len(), 1 << 20);
        assert!(matches!(unpacked(&packed, (1 << 20) - 1), Err(Error::BodyTooLarge(_))));
        assert!(unpacked(&packed[..packed.len() / 2], 1 << 20).is_err());
        assert!(unpacked(b"not gzip", 100).is_err());
    }
}
