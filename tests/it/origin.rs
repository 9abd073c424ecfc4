//! The origin module against real sockets: what goes over the wire, what comes back, and what is made of every way in
//! which an origin can fail.

mod bounds;
mod chain;
mod conformance;
mod double;
mod http;
mod names;
pub(crate) mod nginx;
mod s3;
pub(crate) mod s3_server;

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use futures_util::StreamExt;
use millrace::origin::{Body, Error, ErrorKind, Origin, Request, Response, http as http_origin};
use url::Url;

use crate::origin_double::OriginDouble;

fn config(double: &OriginDouble) -> http_origin::Config {
    http_origin::Config::new("main", Url::parse(&double.url()).unwrap())
}

fn origin(double: &OriginDouble) -> http_origin::Http {
    http_origin::Http::new(config(double)).unwrap()
}

/// Long enough that a busy machine is not taken for a stalled origin.
const PATIENT: Duration = Duration::from_secs(20);

/// For tests that sit a time-out out.
const IMPATIENT: Duration = Duration::from_millis(300);

/// An origin that waits so long for a head, and for each piece of a body.
fn named(double: &OriginDouble, name: &str, patience: Duration) -> Arc<dyn Origin> {
    let config = http_origin::Config {
        name: Arc::from(name),
        first_byte_timeout: patience,
        idle_timeout: patience,
        ..config(double)
    };
    Arc::new(http_origin::Http::new(config).unwrap())
}

fn get(target: &str, fields: &[(&'static str, &'static str)]) -> Request {
    let headers = fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect::<HeaderMap>();
    Request { headers, ..Request::new(Method::GET, target) }
}

/// All bytes, or what came and the error behind it.
async fn collect(mut body: Body) -> Result<Vec<u8>, (Vec<u8>, Error)> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(error) => {
                assert!(body.next().await.is_none(), "an error is the last item");
                return Err((bytes, error));
            }
        }
    }
    Ok(bytes)
}

async fn text(response: Response) -> String {
    String::from_utf8(collect(response.body).await.unwrap()).unwrap()
}

fn failure(result: Result<Response, Error>) -> ErrorKind {
    match result {
        Ok(response) => panic!("answered {}", response.status),
        Err(error) => error.kind,
    }
}
