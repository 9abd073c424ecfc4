//! Which series of two vectors belong together, and what labels a pair's result bears.

use std::collections::{HashMap, HashSet};

use promql_parser::parser::{BinModifier, LabelModifier, VectorMatchCardinality};

use super::value::Column;
use crate::model::{Labels, METRIC_NAME};

/// The `on`/`ignoring` and `group_left`/`group_right` of a binary operation.
pub(super) struct Matching {
    on: bool,
    labels: HashSet<String>,
    /// Labels that `group_x` copies from the "one" side.
    include: Vec<String>,
    pub(super) side: Many,
}

/// Which side may have several series per match group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Many {
    Neither,
    Left,
    Right,
}

/// Numbers the match groups of two vectors.
#[derive(Default)]
pub(super) struct Groups {
    numbers: HashMap<Labels, usize>,
}

impl Matching {
    pub(super) fn new(modifier: Option<&BinModifier>) -> Self {
        let (on, labels) = match modifier.and_then(|modifier| modifier.matching.as_ref()) {
            Some(LabelModifier::Include(labels)) => (true, labels.labels.iter().cloned().collect()),
            Some(LabelModifier::Exclude(labels)) => (false, labels.labels.iter().cloned().collect()),
            None => (false, HashSet::new()),
        };
        let (side, include) = match modifier.map(|modifier| &modifier.card) {
            Some(VectorMatchCardinality::ManyToOne(include)) => (Many::Left, include.labels.clone()),
            Some(VectorMatchCardinality::OneToMany(include)) => (Many::Right, include.labels.clone()),
            _ => (Many::Neither, Vec::new()),
        };
        Self { on, labels, include, side }
    }

    /// What two series must have in common.
    pub(super) fn signature(&self, labels: &Labels) -> Labels {
        match self.on {
            true => labels.filter(|name| self.labels.contains(name)),
            false => labels.filter(|name| name != METRIC_NAME && !self.labels.contains(name)),
        }
    }

    /// Labels of the result of `many` (the left side, when neither is) and `one`.
    pub(super) fn result(&self, many: &Labels, one: &Labels, drop_name: bool) -> Labels {
        let mut labels = if drop_name { many.without_metric_name() } else { many.clone() };
        if self.side == Many::Neither {
            labels = match self.on {
                true => labels.filter(|name| self.labels.contains(name)),
                false => labels.filter(|name| !self.labels.contains(name)),
            };
        }
        if self.include.is_empty() {
            return labels;
        }
        let mut builder = labels.to_builder();
        for name in &self.include {
            builder.set(name, one.get(name));
        }
        builder.build()
    }
}

impl Groups {
    pub(super) fn number(&mut self, matching: &Matching, columns: &[Column]) -> Vec<usize> {
        let numbers = &mut self.numbers;
        let number = |column: &Column| {
            let next = numbers.len();
            *numbers.entry(matching.signature(&column.labels)).or_insert(next)
        };
        columns.iter().map(number).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(super) fn signature(&self, number: usize) -> Labels {
        let found = self.numbers.iter().find(|(_, known)| **known == number);
        found.map_or_else(Labels::empty, |(labels, _)| labels.clone())
    }
}
