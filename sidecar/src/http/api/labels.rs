//! `/series`, `/labels` and `/label/{name}/values`.

use std::{collections::BTreeSet, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, web};
use millrace_kit::clock::UnixMillis;
use serde_json::Value;

use super::{
    Error, Params,
    answer::{limited, object},
};
use crate::{http::State, model::Labels, series::Matcher};

/// Series in one answer.
const MAX_SERIES: usize = 50_000;

pub(super) async fn series(
    state: web::Data<State>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, Error> {
    let params = Params::new(&request, &body);
    let sets = params.matchers()?;
    if sets.is_empty() {
        return Err(Error::bad("match[]", "no match[] parameter provided"));
    }
    let found: BTreeSet<Labels> = sets.iter().map(|matchers| find(&state, &params, matchers)).try_fold(
        BTreeSet::new(),
        |mut all, found| -> Result<_, Error> {
            all.extend(found?);
            Ok(all)
        },
    )?;
    let limit = params.limit("limit")?;
    let limit = if limit == 0 { MAX_SERIES } else { limit.min(MAX_SERIES) };
    Ok(limited(found.iter().take(limit + 1).map(object).collect(), limit))
}

pub(super) async fn names(
    state: web::Data<State>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, Error> {
    let params = Params::new(&request, &body);
    let (from, to) = bounds(&params)?;
    let mut names: BTreeSet<Arc<str>> = BTreeSet::new();
    for matchers in sets_or_all(&params)? {
        names.extend(state.store.label_names(&matchers, from, to));
    }
    Ok(limited(names.iter().map(|name| Value::from(&**name)).collect(), params.limit("limit")?))
}

pub(super) async fn values(
    state: web::Data<State>,
    request: HttpRequest,
    name: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let params = Params::new(&request, &[]);
    let (from, to) = bounds(&params)?;
    let mut values: BTreeSet<Arc<str>> = BTreeSet::new();
    for matchers in sets_or_all(&params)? {
        values.extend(state.store.label_values(&name, &matchers, from, to));
    }
    Ok(limited(values.iter().map(|value| Value::from(&**value)).collect(), params.limit("limit")?))
}

fn find(state: &State, params: &Params, matchers: &[Matcher]) -> Result<Vec<Labels>, Error> {
    let (from, to) = bounds(params)?;
    Ok(state.store.label_sets(matchers, from, to))
}

fn bounds(params: &Params) -> Result<(UnixMillis, UnixMillis), Error> {
    let from = params.time("start")?.unwrap_or(UnixMillis::MIN);
    Ok((from, params.time("end")?.unwrap_or(UnixMillis::MAX)))
}

fn sets_or_all(params: &Params) -> Result<Vec<Vec<Matcher>>, Error> {
    let sets = params.matchers()?;
    Ok(if sets.is_empty() { vec![vec![]] } else { sets })
}
