//! PromQL functions by name. Each file holds one kind; this one finds the kind and handles those that look at the
//! expression rather than at its value.

use promql_parser::parser::{Call, Expr};

use super::{
    Error,
    eval::Evaluator,
    query::unwrapped,
    select,
    steps::Steps,
    value::{ABSENT, Column, Evaluated, is_absent, joined},
    windows::Windows,
};
use crate::model::Labels;

mod calendar;
mod counter;
mod histogram;
mod labels;
mod math;
mod over_time;
mod regression;

pub(super) use labels::check_label;

/// Functions that are dispatched here, beside those that the other files know.
const SPECIAL: &[&str] = &[
    "absent",
    "absent_over_time",
    "histogram_fraction",
    "histogram_quantile",
    "label_join",
    "label_replace",
    "pi",
    "scalar",
    "sort",
    "sort_desc",
    "time",
    "timestamp",
    "vector",
    "quantile_over_time",
    "predict_linear",
];

pub(super) fn is_known(name: &str) -> bool {
    SPECIAL.contains(&name)
        || math::is_known(name)
        || calendar::find(name).is_some()
        || counter::find(name).is_some()
        || over_time::find(name).is_some()
        || regression::find(name).is_some()
}

pub(super) fn eval(evaluator: &Evaluator<'_>, call: &Call, steps: Steps) -> Result<Evaluated, Error> {
    let arg = |index: usize| {
        let missing = || Error::Parse(format!("{}() lacks an argument", call.func.name));
        call.args.args.get(index).map(AsRef::as_ref).ok_or_else(missing)
    };
    let vector = |index: usize| evaluator.vector(arg(index)?, steps);
    let scalar = |index: usize| evaluator.scalar(arg(index)?, steps);
    let name = call.func.name;
    let columns = match name {
        "time" => return Ok(Evaluated::Scalar(seconds(steps))),
        "pi" => return Ok(Evaluated::Scalar(vec![std::f64::consts::PI; steps.count])),
        "scalar" => return Ok(Evaluated::Scalar(only_values(&vector(0)?, steps))),
        "vector" => vec![Column { labels: Labels::empty(), values: scalar(0)? }],
        "timestamp" => timestamp(evaluator, arg(0)?, steps)?,
        "sort" => sorted(vector(0)?, |a, b| a.total_cmp(&b)),
        "sort_desc" => sorted(vector(0)?, |a, b| b.total_cmp(&a)),
        "absent" => absent(arg(0)?, &vector(0)?, steps),
        "absent_over_time" => {
            let present = Windows::of(evaluator, arg(0)?, steps)?.map(&|_| Some(1.0))?;
            absent(arg(0)?, &present, steps)
        }
        "histogram_quantile" => histogram::quantiles(&scalar(0)?, vector(1)?, steps)?,
        "histogram_fraction" => histogram::fractions(&scalar(0)?, &scalar(1)?, vector(2)?, steps)?,
        "label_replace" => {
            let texts = [evaluator.text(arg(1)?)?, evaluator.text(arg(2)?)?, evaluator.text(arg(3)?)?];
            labels::replace(vector(0)?, &texts, &evaluator.text(arg(4)?)?)?
        }
        "label_join" => {
            let (target, separator) = (evaluator.text(arg(1)?)?, evaluator.text(arg(2)?)?);
            let sources = call.args.args.iter().skip(3).map(|source| evaluator.text(source));
            labels::join(vector(0)?, &target, &separator, &sources.collect::<Result<Vec<_>, _>>()?)?
        }
        "quantile_over_time" => {
            let phis = scalar(0)?;
            let windows = Windows::of(evaluator, arg(1)?, steps)?;
            windows.answer(&|window| Some(over_time::quantile(phis[window.step], window)), false)?
        }
        "predict_linear" => {
            let ahead = scalar(1)?;
            let windows = Windows::of(evaluator, arg(0)?, steps)?;
            windows.answer(&|window| regression::predict(window, ahead[window.step]), false)?
        }
        _ => return by_kind(evaluator, call, steps),
    };
    Ok(Evaluated::Vector(columns))
}

fn by_kind(evaluator: &Evaluator<'_>, call: &Call, steps: Steps) -> Result<Evaluated, Error> {
    let name = call.func.name;
    let args: Vec<&Expr> = call.args.args.iter().map(AsRef::as_ref).collect();
    if let Some(function) = calendar::find(name) {
        let columns = match args.first() {
            Some(arg) => evaluator.vector(arg, steps)?,
            None => vec![Column { labels: Labels::empty(), values: seconds(steps) }],
        };
        let mapped = columns.into_iter().map(|column| column.map(function));
        return Ok(Evaluated::Vector(joined(without_names(mapped))?));
    }
    let first = *args.first().ok_or_else(|| Error::Parse(format!("{name}() lacks an argument")))?;
    let function = counter::find(name).or_else(|| over_time::find(name)).or_else(|| regression::find(name));
    if let Some(function) = function {
        let windows = Windows::of(evaluator, first, steps)?;
        return Ok(Evaluated::Vector(windows.answer(&function, over_time::keeps_name(name))?));
    }
    let columns = evaluator.vector(first, steps)?;
    let parameters: Vec<Vec<f64>> =
        args[1..].iter().map(|arg| evaluator.scalar(arg, steps)).collect::<Result<_, _>>()?;
    let mapped = math::apply(name, columns, &parameters);
    let mapped = mapped.ok_or_else(|| Error::Unsupported(format!("function {name}()")))?;
    Ok(Evaluated::Vector(joined(without_names(mapped))?))
}

fn without_names(columns: impl IntoIterator<Item = Column>) -> Vec<Column> {
    let nameless = |column: Column| Column { labels: column.labels.without_metric_name(), ..column };
    columns.into_iter().map(nameless).collect()
}

fn seconds(steps: Steps) -> Vec<f64> {
    steps.iter().map(|at| at as f64 / 1000.0).collect()
}

/// The value where the vector has exactly one element, else NaN.
fn only_values(columns: &[Column], steps: Steps) -> Vec<f64> {
    let only = |step: usize| {
        let mut present = columns.iter().map(|column| column.values[step]).filter(|value| !is_absent(*value));
        match (present.next(), present.next()) {
            (Some(only), None) => only,
            _ => f64::NAN,
        }
    };
    (0..steps.count).map(only).collect()
}

fn timestamp(evaluator: &Evaluator<'_>, arg: &Expr, steps: Steps) -> Result<Vec<Column>, Error> {
    let columns = match unwrapped(arg) {
        Expr::VectorSelector(selector) => select::timestamps(evaluator, selector, steps)?,
        _ => {
            let times = seconds(steps);
            let at_steps = |mut column: Column| {
                for (value, time) in column.values.iter_mut().zip(&times) {
                    if !is_absent(*value) {
                        *value = *time;
                    }
                }
                column
            };
            evaluator.vector(arg, steps)?.into_iter().map(at_steps).collect()
        }
    };
    joined(without_names(columns))
}

/// Order matters at a single step only; NaN goes last either way.
fn sorted(mut columns: Vec<Column>, order: fn(f64, f64) -> std::cmp::Ordering) -> Vec<Column> {
    let value = |column: &Column| column.values.first().copied().unwrap_or(ABSENT);
    columns.sort_by(|a, b| {
        let (a, b) = (value(a), value(b));
        a.is_nan().cmp(&b.is_nan()).then_with(|| order(a, b))
    });
    columns
}

fn absent(arg: &Expr, columns: &[Column], steps: Steps) -> Vec<Column> {
    let missing = |step: usize| columns.iter().all(|column| is_absent(column.values[step]));
    let values = (0..steps.count).map(|step| if missing(step) { 1.0 } else { ABSENT });
    let column = Column { labels: labels::of_selector(arg), values: values.collect() };
    if column.is_empty() { vec![] } else { vec![column] }
}
