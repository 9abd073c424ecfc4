//! Single requests to S3. Whether what is not there is an error is for the caller. Bytes are checked by S3: each body goes with a
//! checksum.

use std::{fmt::Debug, ops::Range, time::SystemTime};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::upload_part::{UploadPartError, UploadPartOutput},
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{BlobId, Error, MOST_PARTS, Result, Shared};

/// Blobs of one listing; more are for the next one.
const MOST_LISTED: usize = 100_000;
/// S3's word for an upload in parts that was completed or given up, as a rule of the bucket may do after some days.
const NO_SUCH_UPLOAD: &str = "NoSuchUpload";
/// What it says of parts that are not those it was told of, which does not change by asking again.
const SPOILT: [&str; 3] = ["InvalidPart", "InvalidPartOrder", "EntityTooSmall"];

/// What came of an attempt to make an object of parts.
pub enum Completed {
    Whole,
    /// S3 does not know the upload or one of its parts, or not any more.
    Unknown,
    /// S3 is there and cannot do it, for whatever reason.
    Failed(Error),
}

impl Shared {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.place.prefix)
    }

    /// `sha256`: what the bytes are, in Base64.
    pub async fn put(&self, key: &str, bytes: Bytes, sha256: Option<String>) -> Result<()> {
        let request = self.client.put_object().bucket(&self.place.bucket).key(self.key(key));
        let request = request.set_checksum_sha256(sha256).body(ByteStream::from(bytes));
        request.send().await.map(drop).map_err(failed("storing an object"))
    }

    /// Replaces an object if it has this entity tag still; the new one's. Where S3 knows no such condition, in any case.
    pub async fn replace(&self, key: &str, bytes: Bytes, tag: Option<String>) -> Result<Option<String>> {
        let conditional = tag.is_some();
        let put = async |tag| {
            let request = self.client.put_object().bucket(&self.place.bucket).key(self.key(key));
            request.set_if_match(tag).body(ByteStream::from(bytes.clone())).send().await
        };
        let put = match put(tag).await {
            Err(error) if conditional && status(&error) == Some(501) => put(None).await,
            done => done,
        };
        match put {
            Ok(done) => Ok(done.e_tag),
            Err(error) if conditional && matches!(status(&error), Some(404 | 409 | 412)) => {
                // An answer may have got lost, and what is there be what was sent.
                match self.get(key).await? {
                    Some((found, tag)) if found == bytes => Ok(tag),
                    _ => {
                        let detail = "another server has gone on with it".to_owned();
                        Err(Error::Io { what: "a draft", detail })
                    }
                }
            }
            Err(error) => Err(failed("storing an object")(error)),
        }
    }

    /// All of a short object, and its entity tag. None: there is none.
    pub async fn get(&self, key: &str) -> Result<Option<(Bytes, Option<String>)>> {
        let request = self.client.get_object().bucket(&self.place.bucket).key(self.key(key));
        let found = match request.send().await {
            Ok(found) => found,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(failed("reading an object")(error)),
        };
        let tag = found.e_tag;
        Ok(Some((found.body.collect().await.map_err(broken)?.into_bytes(), tag)))
    }

    /// None: there is none.
    pub async fn length(&self, key: &str) -> Result<Option<u64>> {
        let request = self.client.head_object().bucket(&self.place.bucket).key(self.key(key));
        match request.send().await {
            Ok(found) => Ok(found.content_length().and_then(|length| u64::try_from(length).ok())),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(failed("looking for an object")(error)),
        }
    }

    pub async fn stream(&self, key: &str, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        let request = self.client.get_object().bucket(&self.place.bucket).key(self.key(key));
        let request = request.range(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let found = request.send().await.map_err(failed("reading an object"))?;
        let bytes = stream::unfold(Some(found.body), |body| async {
            let mut body = body?;
            match body.next().await? {
                Ok(bytes) => Some((Ok(bytes), Some(body))),
                Err(error) => Some((Err(broken(error)), None)),
            }
        });
        Ok(bytes.boxed())
    }

    /// Exactly these bytes.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end.saturating_sub(range.start);
        let request = self.client.get_object().bucket(&self.place.bucket).key(self.key(key));
        let request = request.range(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let found = request.send().await.map_err(failed("reading an object"))?;
        let bytes = found.body.collect().await.map_err(broken)?.into_bytes();
        match bytes.len() as u64 == wanted {
            true => Ok(bytes),
            false => Err(broken(format!("{} bytes for {wanted}", bytes.len()))),
        }
    }

    /// None is as good.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let request = self.client.delete_object().bucket(&self.place.bucket).key(self.key(key));
        match request.send().await {
            Err(error) if status(&error) != Some(404) => Err(failed("removing an object")(error)),
            _ => Ok(()),
        }
    }

    /// The name of an upload in parts.
    pub async fn begin(&self, key: &str) -> Result<String> {
        let request = self.client.create_multipart_upload().bucket(&self.place.bucket).key(self.key(key));
        let begun = request.send().await.map_err(failed("beginning an upload"))?;
        let nameless = || Error::Io { what: "beginning an upload", detail: "it has no name".to_owned() };
        begun.upload_id.ok_or_else(nameless)
    }

    /// The entity tag of a part, counted from 1. None: S3 says that it does not know this upload, or not any more. A refusal in other
    /// words may be for what has passed when the next request is signed.
    pub async fn part(&self, key: &str, upload: &str, number: usize, bytes: Bytes) -> Result<Option<String>> {
        match self.upload_part(key, upload, number, bytes).await {
            Ok(done) => Ok(Some(done.e_tag.unwrap_or_default())),
            Err(error) if error.code() == Some(NO_SUCH_UPLOAD) => Ok(None),
            Err(error) if is_unknown(&error) => {
                Err(Error::Unavailable(format!("storing a part: S3 answered {:?}", status(&error))))
            }
            Err(error) => Err(failed("storing a part")(error)),
        }
    }

    async fn upload_part(
        &self,
        key: &str,
        upload: &str,
        number: usize,
        bytes: Bytes,
    ) -> std::result::Result<UploadPartOutput, SdkError<UploadPartError, HttpResponse>> {
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let request = self.client.upload_part().bucket(&self.place.bucket).key(self.key(key));
        request.upload_id(upload).part_number(number).body(ByteStream::from(bytes)).send().await
    }

    /// Whether S3 knows an upload: told by a part of one byte, which never counts. Of a long one its refusal may not be heard, when the
    /// connection ends while it is being sent.
    pub async fn knows(&self, key: &str, upload: &str) -> Result<bool> {
        let number = usize::try_from(MOST_PARTS).unwrap_or(usize::MAX);
        match self.upload_part(key, upload, number, Bytes::from_static(b"-")).await {
            Ok(_) => Ok(true),
            Err(error) if is_unknown(&error) => Ok(false),
            Err(error) => Err(failed("asking for an upload")(error)),
        }
    }

    pub async fn complete(&self, key: &str, upload: &str, parts: &[String]) -> Result<Completed> {
        let parts = (1..)
            .zip(parts)
            .map(|(number, tag)| CompletedPart::builder().part_number(number).e_tag(tag).build());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let request = self.client.complete_multipart_upload().bucket(&self.place.bucket);
        let request = request.key(self.key(key)).upload_id(upload).multipart_upload(parts);
        match request.send().await {
            Ok(_) => Ok(Completed::Whole),
            Err(error) if is_unknown(&error) || error.code().is_some_and(|code| SPOILT.contains(&code)) => {
                Ok(Completed::Unknown)
            }
            Err(error) => {
                let fails = status(&error).is_some_and(|status| !matches!(status, 429 | 503));
                let error = failed("completing an upload")(error);
                if fails { Ok(Completed::Failed(error)) } else { Err(error) }
            }
        }
    }

    /// One that S3 does not know is as good.
    pub async fn abort(&self, key: &str, upload: &str) -> Result<()> {
        let request = self.client.abort_multipart_upload().bucket(&self.place.bucket);
        match request.key(self.key(key)).upload_id(upload).send().await {
            Err(error) if !is_unknown(&error) => Err(failed("giving up an upload")(error)),
            _ => Ok(()),
        }
    }

    /// Names of what is below a key and was written before this time.
    pub async fn older(&self, below: &str, before: SystemTime) -> Result<Vec<BlobId>> {
        let below = self.key(below);
        let request = self.client.list_objects_v2().bucket(&self.place.bucket).prefix(&below);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page.map_err(failed("listing objects"))?.contents.unwrap_or_default() {
                let name = object.key().and_then(|key| BlobId::parse(key.strip_prefix(&below)?));
                let written = object.last_modified().and_then(|date| SystemTime::try_from(*date).ok());
                if let Some(id) = name
                    && written.is_some_and(|written| written <= before)
                {
                    found.push(id);
                }
            }
            if found.len() >= MOST_LISTED {
                break;
            }
        }
        Ok(found)
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

/// Of an upload that was completed or given up. Not every server calls it so.
fn is_unknown<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code() == Some(NO_SUCH_UPLOAD) || matches!(status(error), Some(403 | 404))
}

fn failed<E>(what: &'static str) -> impl Fn(SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Debug + 'static,
{
    move |error| {
        let said = [error.code(), error.message()];
        let said: Vec<_> = said.into_iter().flatten().collect();
        let detail = match (status(&error), said.is_empty()) {
            (Some(status), false) => format!("S3 answered {status}: {}", said.join(": ")),
            (Some(status), true) => format!("S3 answered {status}"),
            (None, _) => with_causes(&error),
        };
        match status(&error) {
            Some(507) => Error::Full,
            None | Some(429 | 500..) => Error::Unavailable(format!("{what}: {detail}")),
            Some(_) => Error::Io { what, detail },
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn broken(error: impl ToString) -> Error {
    Error::Unavailable(format!("reading an object: {}", error.to_string()))
}
