//! Functions that change labels, and the labels that `absent` derives from its selector.

use promql_parser::{
    label::{MatchOp, Matchers},
    parser::Expr,
};

use crate::{
    model::{Labels, METRIC_NAME},
    promql::{
        Error,
        value::{Column, distinct},
    },
    series::anchored,
};

/// `label_replace(v, target, replacement, source, pattern)`; `texts` are the first three.
pub(super) fn replace(
    columns: Vec<Column>,
    texts: &[String; 3],
    pattern: &str,
) -> Result<Vec<Column>, Error> {
    let [target, replacement, source] = texts;
    let regex = anchored(pattern)?;
    check_label(target)?;
    let replaced = columns.into_iter().map(|column| {
        let value = column.labels.get(source);
        let Some(captures) = regex.captures(value) else { return column };
        let mut expanded = String::new();
        captures.expand(replacement, &mut expanded);
        Column { labels: column.labels.with(target, &expanded), ..column }
    });
    distinct(replaced.collect())
}

pub(super) fn join(
    columns: Vec<Column>,
    target: &str,
    separator: &str,
    sources: &[String],
) -> Result<Vec<Column>, Error> {
    check_label(target)?;
    sources.iter().try_for_each(|source| check_label(source))?;
    let joined = columns.into_iter().map(|column| {
        let values: Vec<&str> = sources.iter().map(|source| column.labels.get(source)).collect();
        Column { labels: column.labels.with(target, &values.join(separator)), ..column }
    });
    distinct(joined.collect())
}

/// Labels that an absent series would surely have had: those matched with `=`, each once.
pub(super) fn of_selector(expr: &Expr) -> Labels {
    let matchers: &Matchers = match expr {
        Expr::VectorSelector(selector) => &selector.matchers,
        Expr::MatrixSelector(matrix) => &matrix.vs.matchers,
        _ => return Labels::empty(),
    };
    let mut labels = crate::model::Builder::default();
    let mut seen = Vec::new();
    for matcher in matchers.matchers.iter().filter(|matcher| matcher.name != METRIC_NAME) {
        if matches!(matcher.op, MatchOp::Equal) && !seen.contains(&&matcher.name) {
            labels.set(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            labels.remove(&matcher.name);
        }
    }
    labels.build()
}

/// Any text but the empty one names a label, as Prometheus 3 has it.
pub(in crate::promql) fn check_label(name: &str) -> Result<(), Error> {
    match name.is_empty() {
        false => Ok(()),
        true => Err(Error::Execution("invalid label name \"\"".to_owned())),
    }
}
