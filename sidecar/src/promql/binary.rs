//! Binary operators: scalars and vectors, arithmetic, comparison, sets. Matching is decided per step, as series come
//! and go; signatures and result labels are computed once.

use std::collections::HashMap;

use promql_parser::parser::{
    BinaryExpr,
    token::{
        T_ADD, T_ATAN2, T_DIV, T_EQLC, T_GTE, T_GTR, T_LAND, T_LOR, T_LSS, T_LTE, T_LUNLESS, T_MOD, T_MUL,
        T_NEQ, T_POW, T_SUB, TokenId,
    },
};

use super::{
    Error,
    eval::Evaluator,
    matching::{Groups, Many, Matching},
    steps::Steps,
    value::{ABSENT, Column, Evaluated, is_absent, joined},
};
use crate::model::Labels;

#[derive(Clone, Copy)]
struct Operator {
    id: TokenId,
    comparison: bool,
    /// `bool`: comparisons yield 0 or 1 instead of filtering.
    returns_bool: bool,
}

pub(super) fn eval(evaluator: &Evaluator<'_>, node: &BinaryExpr, steps: Steps) -> Result<Evaluated, Error> {
    let left = evaluator.eval(&node.lhs, steps)?;
    let right = evaluator.eval(&node.rhs, steps)?;
    let operator = Operator {
        id: node.op.id(),
        comparison: node.op.is_comparison_operator(),
        returns_bool: node.return_bool(),
    };
    match (left, right) {
        (Evaluated::Scalar(left), Evaluated::Scalar(right)) => {
            let values = left.into_iter().zip(right).map(|(left, right)| operator.number(left, right));
            Ok(Evaluated::Scalar(values.collect::<Result<_, _>>()?))
        }
        (Evaluated::Vector(columns), Evaluated::Scalar(scalars)) => {
            with_scalar(operator, columns, &scalars, false)
        }
        (Evaluated::Scalar(scalars), Evaluated::Vector(columns)) => {
            with_scalar(operator, columns, &scalars, true)
        }
        (Evaluated::Vector(left), Evaluated::Vector(right)) => {
            let matching = Matching::new(node.modifier.as_ref());
            let columns = match operator.id {
                T_LAND | T_LOR | T_LUNLESS => set(operator.id, &matching, left, right, steps)?,
                _ => pairs(evaluator, operator, &matching, &left, &right, steps)?,
            };
            Ok(Evaluated::Vector(columns))
        }
        _ => Err(Error::Parse("binary operators take scalars and instant vectors".to_owned())),
    }
}

impl Operator {
    /// The result, and whether it stays (a comparison without `bool` filters).
    fn apply(self, left: f64, right: f64) -> Result<Option<f64>, Error> {
        let arithmetic = match self.id {
            T_ADD => left + right,
            T_SUB => left - right,
            T_MUL => left * right,
            T_DIV => left / right,
            T_MOD => left % right,
            T_POW => left.powf(right),
            T_ATAN2 => left.atan2(right),
            _ => return self.compare(left, right),
        };
        Ok(Some(arithmetic))
    }

    #[allow(clippy::float_cmp, reason = "PromQL compares exactly")]
    fn compare(self, left: f64, right: f64) -> Result<Option<f64>, Error> {
        let holds = match self.id {
            T_EQLC => left == right,
            T_NEQ => left != right,
            T_GTR => left > right,
            T_LSS => left < right,
            T_GTE => left >= right,
            T_LTE => left <= right,
            _ => return Err(Error::Unsupported("this operator between values".to_owned())),
        };
        Ok(match self.returns_bool {
            true => Some(f64::from(u8::from(holds))),
            false => holds.then_some(left),
        })
    }

    /// Between scalars, where a comparison must have `bool`.
    fn number(self, left: f64, right: f64) -> Result<f64, Error> {
        Ok(self.apply(left, right)?.unwrap_or(f64::NAN))
    }

    fn drops_name(self) -> bool {
        !self.comparison || self.returns_bool
    }
}

fn with_scalar(
    operator: Operator,
    columns: Vec<Column>,
    scalars: &[f64],
    scalar_is_left: bool,
) -> Result<Evaluated, Error> {
    let mut results = Vec::with_capacity(columns.len());
    for mut column in columns {
        for (value, scalar) in column.values.iter_mut().zip(scalars) {
            if is_absent(*value) {
                continue;
            }
            let (left, right) = if scalar_is_left { (*scalar, *value) } else { (*value, *scalar) };
            let filters = operator.comparison && !operator.returns_bool;
            *value = match operator.apply(left, right)? {
                None => ABSENT,
                // A filter keeps the vector's value, whichever side it is on.
                Some(_) if filters => *value,
                Some(result) => result,
            };
        }
        if operator.drops_name() {
            column.labels = column.labels.without_metric_name();
        }
        results.push(column);
    }
    Ok(Evaluated::Vector(joined(results)?))
}

fn set(
    id: TokenId,
    matching: &Matching,
    mut left: Vec<Column>,
    mut right: Vec<Column>,
    steps: Steps,
) -> Result<Vec<Column>, Error> {
    let mut groups = Groups::default();
    let left_groups = groups.number(matching, &left);
    let right_groups = groups.number(matching, &right);
    // For `or` the left side shadows the right one; otherwise the right one decides about the left.
    let (deciding, deciding_groups) =
        if id == T_LOR { (&left, &left_groups) } else { (&right, &right_groups) };
    let mut present = vec![false; groups.len() * steps.count];
    for (column, group) in deciding.iter().zip(deciding_groups) {
        for (step, value) in column.values.iter().enumerate() {
            present[group * steps.count + step] |= !is_absent(*value);
        }
    }
    let keep_present = id == T_LAND;
    let (filtered, filtered_groups) =
        if id == T_LOR { (&mut right, &right_groups) } else { (&mut left, &left_groups) };
    for (column, group) in filtered.iter_mut().zip(filtered_groups) {
        for (step, value) in column.values.iter_mut().enumerate() {
            if present[group * steps.count + step] != keep_present {
                *value = ABSENT;
            }
        }
    }
    if id == T_LOR {
        left.append(&mut right);
    }
    joined(left)
}

/// Result columns by labels, with the labels of each pair of input columns computed once.
struct Results {
    columns: Vec<Column>,
    by_labels: HashMap<Labels, usize>,
    by_pair: HashMap<(usize, usize), usize>,
}

impl Results {
    fn place(&mut self, pair: (usize, usize), steps: Steps, labels: impl FnOnce() -> Labels) -> usize {
        *self.by_pair.entry(pair).or_insert_with(|| {
            let labels = labels();
            *self.by_labels.entry(labels.clone()).or_insert_with(|| {
                self.columns.push(Column::absent(labels, steps));
                self.columns.len() - 1
            })
        })
    }
}

fn pairs(
    evaluator: &Evaluator<'_>,
    operator: Operator,
    matching: &Matching,
    left: &[Column],
    right: &[Column],
    steps: Steps,
) -> Result<Vec<Column>, Error> {
    let (many, one) = if matching.side == Many::Right { (right, left) } else { (left, right) };
    let mut groups = Groups::default();
    let many_groups = groups.number(matching, many);
    let one_groups = groups.number(matching, one);
    let mut results = Results { columns: Vec::new(), by_labels: HashMap::new(), by_pair: HashMap::new() };
    for step in 0..steps.count {
        evaluator.check_expired_sometimes()?;
        let has_many = many.iter().any(|column| !is_absent(column.values[step]));
        let has_one = one.iter().any(|column| !is_absent(column.values[step]));
        if !has_many || !has_one {
            continue;
        }
        let mut partner: Vec<Option<usize>> = vec![None; groups.len()];
        for (index, group) in one_groups.iter().enumerate() {
            if is_absent(one[index].values[step]) {
                continue;
            }
            if let Some(first) = partner[*group].replace(index) {
                return Err(ambiguous(matching, &groups.signature(*group), &one[first], &one[index]));
            }
        }
        let mut matched = vec![false; groups.len()];
        for (index, group) in many_groups.iter().enumerate() {
            let value = many[index].values[step];
            let Some(other) = partner[*group].filter(|_| !is_absent(value)) else { continue };
            let other_value = one[other].values[step];
            let result = match matching.side {
                Many::Right => operator.apply(other_value, value)?,
                _ => operator.apply(value, other_value)?,
            };
            let Some(result) = result else { continue };
            if matching.side == Many::Neither && std::mem::replace(&mut matched[*group], true) {
                let message = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
                return Err(Error::Execution(message.to_owned()));
            }
            let place = results.place((index, other), steps, || {
                matching.result(&many[index].labels, &one[other].labels, operator.drops_name())
            });
            let into = &mut results.columns[place].values[step];
            if !is_absent(*into) {
                let message = "multiple matches for labels: grouping labels must ensure unique matches";
                return Err(Error::Execution(message.to_owned()));
            }
            *into = result;
        }
    }
    Ok(results.columns)
}

fn ambiguous(matching: &Matching, group: &Labels, first: &Column, second: &Column) -> Error {
    let side = if matching.side == Many::Right { "left" } else { "right" };
    Error::Execution(format!(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}]; many-to-many matching not allowed: matching labels must be unique on one side",
        first.labels, second.labels
    ))
}
