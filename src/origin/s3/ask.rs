//! One question to S3, and the head of what it answers.

use std::sync::Arc;

use aws_sdk_s3::{
    Client,
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef,
    },
    error::BoxError,
    primitives::{ByteStream, DateTime},
};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;

use super::{
    super::{Body, Error, ErrorKind, precondition, range::Asked},
    connector,
    failure::{self, Instead},
};

/// As far as S3 understands it. The answer is judged again by whoever asks: servers that speak S3 know more conditions or
/// fewer.
#[derive(Debug, Clone, Default)]
pub(super) struct Question {
    pub(super) head_only: bool,
    pub(super) range: Option<Asked>,
    /// S3 has no `If-Range`: of another version than this it sends nothing.
    pub(super) only_of: Option<String>,
    pub(super) not_of: Option<String>,
    pub(super) newer_than: Option<i64>,
}

/// An object, or a part of it.
pub(super) struct Found {
    pub(super) status: StatusCode,
    /// As S3 sent them.
    pub(super) fields: HeaderMap,
    /// None in answer to HEAD.
    pub(super) body: Option<ByteStream>,
}

impl Question {
    /// Takes over those conditions that every S3 understands: one tag, or a date alone.
    pub(super) fn under(conditions: &HeaderMap) -> Self {
        let not_of = precondition::single(conditions, header::IF_NONE_MATCH).and_then(strong_tag);
        let date =
            || precondition::single(conditions, header::IF_MODIFIED_SINCE).and_then(precondition::parse_date);
        let newer_than = match conditions.contains_key(header::IF_NONE_MATCH) {
            true => None,
            false => date().and_then(|secs| secs.try_into().ok()),
        };
        Self { not_of, newer_than, ..Self::default() }
    }

    pub(super) async fn ask(
        &self,
        client: &Client,
        origin: &Arc<str>,
        (bucket, key): (&str, &str),
    ) -> Result<Result<Found, Instead>, Error> {
        let heard = Heard::default();
        let newer_than = self.newer_than.map(DateTime::from_secs);
        let (not_of, only_of) = (self.not_of.clone(), self.only_of.clone());
        let answer = if self.head_only {
            let question = client.head_object().bucket(bucket).key(key);
            let question = question.set_if_none_match(not_of).set_if_modified_since(newer_than);
            let answer = question.customize().interceptor(heard.clone()).send().await;
            answer.map(|_| None).map_err(|error| failure::judge(origin, error))
        } else {
            let question = client.get_object().bucket(bucket).key(key).set_if_match(only_of);
            let question = question.set_if_none_match(not_of).set_if_modified_since(newer_than);
            let question = question.set_range(self.range.map(|range| range.to_string()));
            let answer = question.customize().interceptor(heard.clone()).send().await;
            answer.map(|found| Some(found.body)).map_err(|error| failure::judge(origin, error))
        };
        match answer {
            Ok(body) => {
                let (status, fields) = heard.0.lock().take().unwrap_or_default();
                Ok(Ok(Found { status, fields, body }))
            }
            Err(failed) => failed.map(Err),
        }
    }
}

/// A tag that S3 can compare: `*`, lists and weak tags are ours to judge.
pub(super) fn strong_tag(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?.trim();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('"')).then(|| text.to_owned())
}

/// Bytes as they come. What they should come to was seen to below the SDK.
pub(super) fn stream_body(body: ByteStream, origin: Arc<str>) -> Body {
    stream::unfold(Some((body, origin)), |state| async {
        let (mut body, origin) = state?;
        match body.next().await? {
            Ok(chunk) => Some((Ok(chunk), Some((body, origin)))),
            Err(error) => {
                let own = failure::find::<Error>(&error).cloned();
                let error =
                    own.unwrap_or_else(|| Error::new(&origin, ErrorKind::BrokenBody, error.to_string()));
                Some((Err(error), None))
            }
        }
    })
    .boxed()
}

/// Status and fields as they came: what the SDK makes of them would have to be turned back into HTTP.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Option<(StatusCode, HeaderMap)>>>);

impl Intercept for Heard {
    fn name(&self) -> &'static str {
        "Heard"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let status = StatusCode::from_u16(answer.status().as_u16())?;
        *self.0.lock() = Some((status, connector::fields(answer)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_s3_understands_is_passed_on() {
        let question = |fields: &[(http::HeaderName, &'static str)]| {
            let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            let question = Question::under(&fields.collect());
            (question.not_of, question.newer_than)
        };
        let (none_match, since) = (header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE);
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(question(&[(none_match.clone(), "\"a\"")]), (Some("\"a\"".to_owned()), None));
        for other in ["*", "W/\"a\"", "\"a\", \"b\"", "a", "\""] {
            assert_eq!(question(&[(none_match.clone(), other)]), (None, None), "{other}");
        }
        assert_eq!(question(&[(since.clone(), date)]), (None, Some(784_111_777)));
        assert_eq!(question(&[(since.clone(), "yesterday")]), (None, None));
        assert_eq!(question(&[(since, date), (none_match, "*")]), (None, None));
    }
}
