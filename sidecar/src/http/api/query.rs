//! `/query` and `/query_range`.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value as Json, json};

use super::{
    Error, Kind, Params,
    answer::{TRUNCATED, object, seconds, with_warnings},
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
    let limit = params.limit("limit")?;
    let at = params.time("time")?.unwrap_or_else(|| state.clock.unix_millis());
    let run = run(&state, Wanted::new(&state, &params)?, move |state, options| {
        query.instant(&*state.store, at, options)
    });
    let (value, stats) = run.await?;
    let (value, cut) = match value {
        Value::Vector(mut samples) if limit > 0 && samples.len() > limit => {
            samples.truncate(limit);
            (Value::Vector(samples), true)
        }
        Value::Matrix(mut series) if limit > 0 && series.len() > limit => {
            series.truncate(limit);
            (Value::Matrix(series), true)
        }
        whole => (whole, false),
    };
    Ok(answer(instant_data(value), &params, &stats, cut))
}

pub(super) async fn range(
    state: web::Data<State>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, Error> {
    let params = Params::new(&request, &body);
    let query = parse(&params)?;
    let limit = params.limit("limit")?;
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
    let run = run(&state, Wanted::new(&state, &params)?, move |state, options| {
        query.range(&*state.store, start, end, step, options)
    });
    let (mut series, stats) = run.await?;
    let cut = limit > 0 && series.len() > limit;
    if cut {
        series.truncate(limit);
    }
    let data = json!({ "resultType": "matrix", "result": matrix(&series) });
    Ok(answer(data, &params, &stats, cut))
}

/// The expression over several lines.
pub(super) async fn format(request: HttpRequest, body: web::Bytes) -> Result<HttpResponse, Error> {
    Ok(success(parse(&Params::new(&request, &body))?.formatted()))
}

/// Exemplars are not kept.
pub(super) async fn exemplars(request: HttpRequest, body: web::Bytes) -> Result<HttpResponse, Error> {
    parse(&Params::new(&request, &body))?;
    Ok(success(json!([])))
}

fn answer(mut data: Json, params: &Params, stats: &Stats, cut: bool) -> HttpResponse {
    if params.get("stats").is_some_and(|wanted| !wanted.is_empty()) {
        data["stats"] = stats.shown();
    }
    with_warnings(data, if cut { &[TRUNCATED] } else { &[] })
}

fn parse(params: &Params) -> Result<Query, Error> {
    Query::parse(params.required("query")?).map_err(|error| Error::bad("query", error))
}

/// What a request asks of its evaluation.
#[derive(Clone, Copy)]
struct Wanted {
    /// Clients may shorten, not lengthen.
    timeout: Duration,
    lookback_ms: i64,
}

impl Wanted {
    fn new(state: &State, params: &Params) -> Result<Self, Error> {
        let timeout = params.duration("timeout")?;
        let lookback = params.duration("lookback_delta")?;
        let lookback = lookback.map(|lookback| i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX));
        Ok(Self {
            timeout: timeout.map_or(state.bounds.timeout, |wanted| wanted.min(state.bounds.timeout)),
            lookback_ms: lookback.filter(|ms| *ms > 0).unwrap_or(Options::default().lookback_ms),
        })
    }
}

/// What a query has cost, as Prometheus tells it.
struct Stats {
    queued: Duration,
    evaluated: Duration,
    samples: usize,
}

impl Stats {
    fn shown(&self) -> Json {
        let (queued, evaluated) = (self.queued.as_secs_f64(), self.evaluated.as_secs_f64());
        json!({
            "timings": {
                "evalTotalTime": evaluated,
                "resultSortTime": 0.0,
                "queryPreparationTime": 0.0,
                "innerEvalTime": evaluated,
                "execQueueTime": queued,
                "execTotalTime": queued + evaluated,
            },
            "samples": { "totalQueryableSamples": self.samples, "peakSamples": self.samples },
        })
    }
}

/// Evaluates off the HTTP threads, few at a time.
async fn run<T: Send + 'static>(
    state: &web::Data<State>,
    wanted: Wanted,
    evaluate: impl FnOnce(&State, &Options<'_>) -> Result<T, promql::Error> + Send + 'static,
) -> Result<(T, Stats), Error> {
    let unavailable = |message: &str| Error { kind: Kind::Unavailable, message: message.to_owned() };
    let begun = Instant::now();
    let deadline = begun + wanted.timeout;
    let Ok(_admitted) = state.admitted.clone().try_acquire_owned() else {
        return Err(unavailable("too many queries at once"));
    };
    let waited = tokio::time::timeout(wanted.timeout, state.queries.clone().acquire_owned()).await;
    let Ok(Ok(permit)) = waited else {
        return Err(Error { kind: Kind::Timeout, message: "query timed out in query queue".to_owned() });
    };
    let queued = begun.elapsed();
    let state: Arc<State> = state.clone().into_inner();
    let evaluated = web::block(move || {
        let _permit = permit;
        let started = Instant::now();
        let expired = || Instant::now() >= deadline;
        let spent = AtomicUsize::new(0);
        let options = Options {
            lookback_ms: wanted.lookback_ms,
            subquery_step_ms: i64::try_from(state.subquery_step.as_millis()).unwrap_or(i64::MAX),
            max_samples: state.bounds.max_samples,
            max_series: state.bounds.max_series,
            spent: Some(&spent),
            expired: &expired,
        };
        let value = evaluate(&state, &options)?;
        Ok((value, Stats { queued, evaluated: started.elapsed(), samples: spent.into_inner() }))
    });
    let evaluated: Result<_, promql::Error> =
        evaluated.await.map_err(|_| unavailable("the sidecar is stopping"))?;
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
