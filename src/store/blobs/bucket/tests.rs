//! What a real S3 server does not do when it is wanted: answers that get lost, uploads that are gone. It also counts.

use std::collections::BTreeMap;

use aws_sdk_s3::{
    config::{
        BehaviorVersion, Credentials, Region,
        http::{HttpRequest, HttpResponse},
    },
    primitives::SdkBody,
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    result::ConnectorError,
};
use parking_lot::Mutex;

use super::*;

/// Objects and parts in memory.
#[derive(Debug, Clone, Default)]
struct Double(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// With a number, from which the entity tag is made.
    objects: BTreeMap<String, (Bytes, u64)>,
    parts: BTreeMap<usize, Bytes>,
    written: u64,
    read: u64,
    sent: usize,
    received: usize,
    /// So many writes of drafts are done, and not answered.
    lost_answers: usize,
    /// It has been given up behind the draft's back.
    forgotten: bool,
    /// Parts are not made an object of.
    fails: bool,
}

type Replied = std::result::Result<HttpResponse, ConnectorError>;

const PART: usize = LEAST_PART as usize;

impl HttpConnector for Double {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(self.0.lock().answer(&request))
    }
}

impl Kept {
    fn answer(&mut self, request: &HttpRequest) -> Replied {
        let (path, query) = request.uri().split_once('?').unwrap_or((request.uri(), ""));
        let key = path.rsplit_once("/media/").map_or("", |(_, key)| key).to_owned();
        let body = Bytes::copy_from_slice(request.body().bytes().unwrap_or_default());
        let number = query.split('&').find_map(|pair| pair.strip_prefix("partNumber=")?.parse().ok());
        match (request.method(), number) {
            ("PUT" | "POST", _) if self.forgotten && query.contains("uploadId=") => {
                Ok(reply(404, "", "<Error><Code>NoSuchUpload</Code></Error>".into()))
            }
            ("POST", _) if self.fails && query.contains("uploadId=") => {
                Ok(reply(500, "", "<Error><Code>InternalError</Code></Error>".into()))
            }
            ("PUT", Some(number)) => {
                self.sent += body.len();
                self.parts.insert(number, body);
                Ok(reply(200, "\"part\"", Bytes::new()))
            }
            ("PUT", None) => self.put(key, body, request.headers().get("if-match")),
            ("POST", _) if query.contains("uploadId=") => {
                let whole: Vec<u8> = std::mem::take(&mut self.parts).into_values().flatten().collect();
                self.objects.insert(key, (whole.into(), 0));
                Ok(reply(200, "", "<CompleteMultipartUploadResult/>".into()))
            }
            ("POST", _) => {
                let name =
                    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
                Ok(reply(200, "", name.into()))
            }
            ("GET" | "HEAD", _) => Ok(match self.objects.get(&key) {
                Some((bytes, version)) => {
                    self.received += bytes.len();
                    self.read += 1;
                    reply(200, &format!("\"{version}\""), bytes.clone())
                }
                None => reply(404, "", Bytes::new()),
            }),
            _ => {
                self.objects.remove(&key);
                Ok(reply(204, "", Bytes::new()))
            }
        }
    }

    fn put(&mut self, key: String, body: Bytes, wanted: Option<&str>) -> Replied {
        let found = self.objects.get(&key).map(|(_, version)| format!("\"{version}\""));
        if wanted.is_some() && wanted != found.as_deref() {
            return Ok(reply(412, "", Bytes::new()));
        }
        self.written += 1;
        self.sent += body.len();
        let is_draft = key.starts_with("drafts/");
        self.objects.insert(key, (body, self.written));
        if is_draft && self.lost_answers > 0 {
            self.lost_answers -= 1;
            return Err(ConnectorError::io("the connection broke".into()));
        }
        Ok(reply(200, &format!("\"{}\"", self.written), Bytes::new()))
    }
}

fn reply(status: u16, tag: &str, body: Bytes) -> HttpResponse {
    let length = body.len().to_string();
    let status = http::StatusCode::from_u16(status).unwrap().into();
    let mut reply = HttpResponse::new(status, SdkBody::from(body));
    reply.headers_mut().insert("content-length", length);
    if !tag.is_empty() {
        reply.headers_mut().insert("etag", tag.to_owned());
    }
    reply
}

async fn bucket() -> (Bucket, Double) {
    let double = Double::default();
    let connector = SharedHttpConnector::new(double.clone());
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-central-1"))
        .endpoint_url("http://nowhere.invalid")
        .force_path_style(true)
        .credentials_provider(Credentials::new("ID", "secret", None, None, "tests"))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    let place = Place { bucket: "media".to_owned(), prefix: String::new(), longest: 1 << 30 };
    let bucket = Bucket::open(&Client::from_conf(config), place, "catalogue").await.unwrap();
    (bucket, double)
}

#[tokio::test]
async fn what_fills_a_part_is_sent_once_and_not_read_again() {
    let (bucket, double) = bucket().await;
    let id = BlobId::random();
    drop(bucket.draft(&id, true).await.unwrap());
    let piece = Bytes::from(vec![7; PART]);
    for _ in 0..3 {
        let mut draft = bucket.reopen(&id).await.unwrap().unwrap();
        draft.append(piece.clone()).await.unwrap();
        draft.sync().await.unwrap();
    }
    let draft = bucket.reopen(&id).await.unwrap().unwrap();
    assert_eq!(draft.publish().await.unwrap().length, 3 * LEAST_PART);
    let kept = double.0.lock();
    assert_eq!(kept.objects[&blob(&id)].0.len(), 3 * PART);
    // What says how far it has come has the first bytes in it, besides.
    assert!(kept.sent < 3 * PART + (1 << 20), "{} bytes were sent", kept.sent);
    assert!(kept.received < 1 << 20, "{} bytes were read in {} times", kept.received, kept.read);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_has_been_done() {
    let (bucket, double) = bucket().await;
    let id = BlobId::random();
    let mut draft = bucket.draft(&id, true).await.unwrap();
    draft.append(Bytes::from_static(b"abc")).await.unwrap();
    double.0.lock().lost_answers = 1;
    draft.sync().await.unwrap();
    draft.append(Bytes::from_static(b"def")).await.unwrap();
    draft.sync().await.unwrap();
    assert_eq!(bucket.reopen(&id).await.unwrap().unwrap().length(), 6);
    // But who has been overtaken must not go on.
    let mut late = bucket.reopen(&id).await.unwrap().unwrap();
    draft.append(Bytes::from_static(b"ghi")).await.unwrap();
    draft.sync().await.unwrap();
    late.append(Bytes::from_static(b"xyz")).await.unwrap();
    assert!(matches!(late.sync().await, Err(Error::Io { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_s3_fails_to_complete_is_lost_in_the_end() {
    let (bucket, double) = bucket().await;
    let id = BlobId::random();
    let mut draft = bucket.draft(&id, true).await.unwrap();
    draft.append(Bytes::from(vec![7; PART + 1])).await.unwrap();
    draft.sync().await.unwrap();
    double.0.lock().fails = true;
    let publish = async || bucket.reopen(&id).await.unwrap().unwrap().publish().await.map(drop);
    for _ in 0..10 {
        assert!(matches!(publish().await, Err(Error::Unavailable(_))), "it may still come right");
    }
    // A minute ago.
    {
        let mut kept = double.0.lock();
        let (saved, version) = kept.objects[&super::draft(&id)].clone();
        let mut state = State::read((saved, None)).unwrap();
        state.failures.since -= 61;
        kept.objects.insert(super::draft(&id), (state.write().unwrap(), version));
    }
    assert!(matches!(publish().await, Err(Error::Lost)));
    double.0.lock().fails = false;
    publish().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_s3_has_dropped_is_lost() {
    let (bucket, double) = bucket().await;
    let id = BlobId::random();
    let mut draft = bucket.draft(&id, true).await.unwrap();
    draft.append(Bytes::from(vec![7; PART])).await.unwrap();
    draft.sync().await.unwrap();
    double.0.lock().forgotten = true;
    draft.append(Bytes::from(vec![7; PART])).await.unwrap();
    assert!(matches!(draft.sync().await, Err(Error::Lost)));
    let draft = bucket.reopen(&id).await.unwrap().unwrap();
    assert!(matches!(draft.publish().await, Err(Error::Lost)));
    bucket.discard(&id).await.unwrap();
    assert!(bucket.reopen(&id).await.unwrap().is_none());
}
