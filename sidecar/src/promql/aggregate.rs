//! Aggregation operators: groups are formed once, values folded per step.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher, RandomState},
};

use hashbrown::HashTable;
use promql_parser::parser::{
    AggregateExpr, LabelModifier,
    token::{
        T_AVG, T_BOTTOMK, T_COUNT, T_COUNT_VALUES, T_GROUP, T_MAX, T_MIN, T_QUANTILE, T_STDDEV, T_STDVAR,
        T_SUM, T_TOPK, TokenId,
    },
};

use super::{
    Error,
    eval::Evaluator,
    functions::check_label,
    steps::Steps,
    sum::{Mean, Sum, quantile, variance},
    value::{ABSENT, Column, format_value, is_absent, joined},
};
use crate::model::{Labels, METRIC_NAME};

/// The series of one group, as places in the input.
struct Group {
    labels: Labels,
    members: Vec<usize>,
}

pub(super) fn eval(
    evaluator: &Evaluator<'_>,
    node: &AggregateExpr,
    steps: Steps,
) -> Result<Vec<Column>, Error> {
    let parameter = || {
        let missing = || Error::Parse(format!("{} needs a parameter", node.op));
        node.param.as_deref().ok_or_else(missing)
    };
    let columns = evaluator.vector(&node.expr, steps)?;
    let groups = groups(node.modifier.as_ref(), &columns);
    match node.op.id() {
        T_TOPK => {
            let counts = evaluator.scalar(parameter()?, steps)?;
            extremes(&groups, columns, &counts, true)
        }
        T_BOTTOMK => {
            let counts = evaluator.scalar(parameter()?, steps)?;
            extremes(&groups, columns, &counts, false)
        }
        T_COUNT_VALUES => {
            let label = evaluator.text(parameter()?)?;
            count_values(evaluator, &groups, &columns, &label, steps)
        }
        T_QUANTILE => {
            let phis = evaluator.scalar(parameter()?, steps)?;
            fold(evaluator, &groups, &columns, steps, &|values, step| quantile(phis[step], values.to_vec()))
        }
        id => {
            let function =
                simple(id).ok_or_else(|| Error::Unsupported(format!("aggregation {}", node.op)))?;
            fold(evaluator, &groups, &columns, steps, &|values, _| function(values))
        }
    }
}

/// Of at least one value.
fn simple(id: TokenId) -> Option<fn(&[f64]) -> f64> {
    Some(match id {
        T_SUM => |values| Sum::of(values.iter().copied()),
        T_AVG => |values| Mean::of(values.iter().copied()),
        T_COUNT => |values| values.len() as f64,
        T_GROUP => |_| 1.0,
        T_MIN => |values| extreme(values, |new, best| new < best),
        T_MAX => |values| extreme(values, |new, best| new > best),
        T_STDVAR => |values| variance(values.iter().copied()),
        T_STDDEV => |values| variance(values.iter().copied()).sqrt(),
        _ => return None,
    })
}

/// NaN only when there is nothing else.
fn extreme(values: &[f64], better: fn(f64, f64) -> bool) -> f64 {
    let fold = |best: f64, new: f64| if better(new, best) || best.is_nan() { new } else { best };
    values.iter().copied().fold(f64::NAN, fold)
}

fn groups(modifier: Option<&LabelModifier>, columns: &[Column]) -> Vec<Group> {
    let keep = |name: &str| match modifier {
        None => false,
        Some(LabelModifier::Include(by)) => by.labels.iter().any(|listed| listed == name),
        Some(LabelModifier::Exclude(without)) => {
            name != METRIC_NAME && !without.labels.iter().any(|listed| listed == name)
        }
    };
    let hasher = RandomState::new();
    let mut groups: Vec<Group> = Vec::new();
    // A label set is made for each group, not for each series.
    let mut places: HashTable<(u64, usize)> = HashTable::new();
    for (index, column) in columns.iter().enumerate() {
        let kept = || column.labels.iter().filter(|label| keep(&label.name));
        let mut state = hasher.build_hasher();
        kept().for_each(|label| label.hash(&mut state));
        let hash = state.finish();
        let alike = |(_, place): &(u64, usize)| groups[*place].labels.iter().eq(kept());
        match places.find(hash, alike) {
            Some((_, place)) => groups[*place].members.push(index),
            None => {
                places.insert_unique(hash, (hash, groups.len()), |(hash, _)| *hash);
                groups.push(Group { labels: column.labels.filter(keep), members: vec![index] });
            }
        }
    }
    groups
}

fn fold(
    evaluator: &Evaluator<'_>,
    groups: &[Group],
    columns: &[Column],
    steps: Steps,
    function: &dyn Fn(&[f64], usize) -> f64,
) -> Result<Vec<Column>, Error> {
    let mut results = Vec::with_capacity(groups.len());
    let mut values = Vec::new();
    for group in groups {
        let mut result = Column::absent(group.labels.clone(), steps);
        for step in 0..steps.count {
            evaluator.check_expired_sometimes()?;
            values.clear();
            let members = group.members.iter().map(|member| columns[*member].values[step]);
            values.extend(members.filter(|value| !is_absent(*value)));
            if !values.is_empty() {
                result.values[step] = function(&values, step);
            }
        }
        results.push(result);
    }
    Ok(results)
}

/// `topk` and `bottomk`: the input series, masked where they are not among the first `k` of their group. At a single
/// step they come out in order of value.
fn extremes(
    groups: &[Group],
    columns: Vec<Column>,
    counts: &[f64],
    largest: bool,
) -> Result<Vec<Column>, Error> {
    if counts.iter().any(|count| count.is_nan()) {
        return Err(Error::Execution("parameter value is NaN".to_owned()));
    }
    let mut results: Vec<Column> = columns
        .iter()
        .map(|column| Column { labels: column.labels.clone(), values: vec![ABSENT; column.values.len()] })
        .collect();
    let mut order = Vec::new();
    for group in groups {
        for (step, count) in counts.iter().enumerate() {
            let mut ranked: Vec<(usize, f64)> =
                group.members.iter().map(|member| (*member, columns[*member].values[step])).collect();
            ranked.retain(|(_, value)| !is_absent(*value));
            ranked.sort_by(|(_, a), (_, b)| {
                let by_value = if largest { b.total_cmp(a) } else { a.total_cmp(b) };
                a.is_nan().cmp(&b.is_nan()).then(by_value)
            });
            // Saturates: a negative count is none.
            ranked.truncate(*count as usize);
            for (member, value) in ranked {
                results[member].values[step] = value;
                order.push(member);
            }
        }
    }
    if counts.len() == 1 {
        let mut slots: Vec<Option<Column>> = results.into_iter().map(Some).collect();
        return Ok(order.into_iter().filter_map(|member| slots[member].take()).collect());
    }
    results.retain(|column| !column.is_empty());
    Ok(results)
}

fn count_values(
    evaluator: &Evaluator<'_>,
    groups: &[Group],
    columns: &[Column],
    label: &str,
    steps: Steps,
) -> Result<Vec<Column>, Error> {
    check_label(label)?;
    let mut results = Vec::new();
    for group in groups {
        let mut places: HashMap<u64, usize> = HashMap::new();
        for member in &group.members {
            evaluator.check_expired_sometimes()?;
            for (step, value) in
                columns[*member].values.iter().enumerate().filter(|(_, value)| !is_absent(**value))
            {
                let place = match places.get(&value.to_bits()) {
                    Some(place) => *place,
                    None => {
                        evaluator.charge(steps.count)?;
                        let labels = group.labels.with(label, &format_value(*value));
                        results.push(Column::absent(labels, steps));
                        places.insert(value.to_bits(), results.len() - 1);
                        results.len() - 1
                    }
                };
                let count = &mut results[place].values[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
    }
    joined(results)
}
