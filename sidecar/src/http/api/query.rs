//! `/query` and `/query_range`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value as Json, json};

use super::{
    Error, Kind, Params,
    answer::{object, seconds},
    success,
};
use crate::{
    http::State,
    promql::{self, Options, Query, RangeSeries, Value, format_value},
};

/// Points per series, as in Prometheus.
const MAX_POINTS: i64 = 11_000;

pub(super) async fn instant(
    state: web::Data<State>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, Error> {
    let params = Params::new(&request, &body);
    let query = parse(&params)?;
    let at = params.time("time")?.unwrap_or_else(|| state.clock.unix_millis());
    let value = run(&state, timeout(&state, &params)?, move |state, options| {
        query.instant(&*state.store, at, options)
    });
    Ok(success(instant_data(value.await?)))
}

pub(super) async fn range(
    state: web::Data<State>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, Error> {
    let params = Params::new(&request, &body);
    let query = parse(&params)?;
    let bound = |name| params.time(name)?.ok_or_else(|| Error::bad(name, "is missing"));
    let (start, end) = (bound("start")?, bound("end")?);
    if end < start {
        return Err(Error::bad("end", "end timestamp must not be before start time"));
    }
    let step = params.duration("step")?.ok_or_else(|| Error::bad("step", "is missing"))?;
    let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    if step == 0 {
        let message =
            "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Error::bad("step", message));
    }
    if end.saturating_sub(start) / step > MAX_POINTS {
        let message = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(Error { kind: Kind::BadData, message: message.to_owned() });
    }
    let series = run(&state, timeout(&state, &params)?, move |state, options| {
        query.range(&*state.store, start, end, step, options)
    });
    Ok(success(json!({ "resultType": "matrix", "result": matrix(&series.await?) })))
}

fn parse(params: &Params) -> Result<Query, Error> {
    Query::parse(params.required("query")?).map_err(|error| Error::bad("query", error))
}

/// Clients may shorten, not lengthen.
fn timeout(state: &State, params: &Params) -> Result<Duration, Error> {
    let wanted = params.duration("timeout")?;
    Ok(wanted.map_or(state.bounds.timeout, |wanted| wanted.min(state.bounds.timeout)))
}

/// Evaluates off the HTTP threads, few at a time.
async fn run<T: Send + 'static>(
    state: &web::Data<State>,
    timeout: Duration,
    evaluate: impl FnOnce(&State, &Options<'_>) -> Result<T, promql::Error> + Send + 'static,
) -> Result<T, Error> {
    let unavailable = |message: &str| Error { kind: Kind::Unavailable, message: message.to_owned() };
    let deadline = Instant::now() + timeout;
    let Ok(_admitted) = state.admitted.clone().try_acquire_owned() else {
        return Err(unavailable("too many queries at once"));
    };
    let waited = tokio::time::timeout(timeout, state.queries.clone().acquire_owned()).await;
    let Ok(Ok(permit)) = waited else {
        return Err(Error { kind: Kind::Timeout, message: "query timed out in the queue".to_owned() });
    };
    let state: Arc<State> = state.clone().into_inner();
    let evaluated = web::block(move || {
        let _permit = permit;
        let expired = || Instant::now() >= deadline;
        let options = Options {
            subquery_step_ms: i64::try_from(state.subquery_step.as_millis()).unwrap_or(i64::MAX),
            max_samples: state.bounds.max_samples,
            expired: &expired,
            ..Options::default()
        };
        evaluate(&state, &options)
    });
    let evaluated = evaluated.await.map_err(|_| unavailable("the sidecar is stopping"))?;
    Ok(evaluated?)
}

fn instant_data(value: Value) -> Json {
    match value {
        Value::Scalar(sample) => {
            json!({ "resultType": "scalar", "result": [seconds(sample.at), format_value(sample.value)] })
        }
        Value::Text(at, text) => json!({ "resultType": "string", "result": [seconds(at), text] }),
        Value::Vector(samples) => {
            let result = samples.iter().map(|found| {
                let sample = found.sample;
                json!({ "metric": object(&found.labels), "value": [seconds(sample.at), format_value(sample.value)] })
            });
            json!({ "resultType": "vector", "result": result.collect::<Vec<_>>() })
        }
        Value::Matrix(series) => json!({ "resultType": "matrix", "result": matrix(&series) }),
    }
}

fn matrix(series: &[RangeSeries]) -> Vec<Json> {
    let rows = series.iter().map(|series| {
        let values =
            series.samples.iter().map(|sample| json!([seconds(sample.at), format_value(sample.value)]));
        json!({ "metric": object(&series.labels), "values": values.collect::<Vec<_>>() })
    });
    rows.collect()
}
