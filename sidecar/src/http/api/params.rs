//! Parameters of a request, from the query string and, for POST, from the form.

use std::time::Duration;

use actix_web::HttpRequest;
use millrace_kit::clock::UnixMillis;

use super::Error;
use crate::{model::time::parse_rfc3339, promql, series::Matcher};

/// Parameters of one request; more are not looked at.
const MAX_PARAMETERS: usize = 256;

pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn new(request: &HttpRequest, body: &[u8]) -> Self {
        let parse = |bytes: &[u8]| -> Vec<(String, String)> {
            let pairs = url::form_urlencoded::parse(bytes).into_owned();
            pairs.take(MAX_PARAMETERS).collect()
        };
        let mut all = parse(request.query_string().as_bytes());
        all.extend(parse(body));
        Self(all)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Error> {
        self.get(name).ok_or_else(|| Error::bad(name, "is missing"))
    }

    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let found = self.0.iter().filter(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// 0: no limit.
    pub(super) fn limit(&self, name: &str) -> Result<usize, Error> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(0) };
        let parsed: Result<i64, _> = text.parse();
        let limit = parsed.map_err(|_| Error::bad(name, format!("{text:?} is not a whole number")))?;
        usize::try_from(limit).map_err(|_| Error::bad(name, "limit must be non-negative"))
    }

    /// Unix seconds or RFC 3339.
    pub(super) fn time(&self, name: &str) -> Result<Option<UnixMillis>, Error> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let at = match text.parse::<f64>() {
            Ok(seconds) if seconds.abs() < 1e12 => Some((seconds * 1000.0).round() as i64),
            Ok(_) => None,
            Err(_) => parse_rfc3339(text),
        };
        at.map(Some).ok_or_else(|| Error::bad(name, format!("cannot parse {text:?} to a valid timestamp")))
    }

    /// Seconds as a number, or a Prometheus duration.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, Error> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let wrong = || Error::bad(name, format!("cannot parse {text:?} to a valid duration"));
        let parsed = match text.parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Err(_) => promql::parse_duration(text),
        };
        parsed.map(Some).ok_or_else(wrong)
    }

    /// One matcher per `filter`, or several between commas.
    pub(super) fn filters(&self) -> Result<Vec<Matcher>, promql::Error> {
        let given = self.0.iter().filter(|(key, _)| key == "filter");
        let parsed = given.map(|(_, text)| {
            let inside = text.trim().trim_start_matches('{').trim_end_matches('}');
            promql::parse_selector(&format!("{{{inside}}}"))
        });
        Ok(parsed.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// One set of matchers per `match[]`.
    pub(super) fn matchers(&self) -> Result<Vec<Vec<Matcher>>, Error> {
        let parse =
            |text: &String| promql::parse_selector(text).map_err(|error| Error::bad("match[]", error));
        let given = self.0.iter().filter(|(key, _)| key == "match[]");
        given.map(|(_, text)| parse(text)).collect()
    }
}
