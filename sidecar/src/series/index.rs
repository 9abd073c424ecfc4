//! The inverted index: label name → value → slots of the series that carry it, in ascending order.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::Matcher;
use crate::model::Labels;

pub(super) type Slot = u32;

#[derive(Debug, Default)]
pub(super) struct Index {
    names: HashMap<Arc<str>, BTreeMap<Arc<str>, Vec<Slot>>>,
    all: Vec<Slot>,
}

impl Index {
    pub(super) fn insert(&mut self, labels: &Labels, slot: Slot) {
        insert_sorted(&mut self.all, slot);
        for label in labels.iter() {
            let values = self.names.entry(label.name.clone()).or_default();
            insert_sorted(values.entry(label.value.clone()).or_default(), slot);
        }
    }

    pub(super) fn remove(&mut self, labels: &Labels, slot: Slot) {
        remove_sorted(&mut self.all, slot);
        for label in labels.iter() {
            let Some(values) = self.names.get_mut(&label.name) else { continue };
            if let Some(slots) = values.get_mut(&label.value) {
                remove_sorted(slots, slot);
                if slots.is_empty() {
                    values.remove(&label.value);
                }
            }
            if values.is_empty() {
                self.names.remove(&label.name);
            }
        }
    }

    /// Gives back room that lists have left over from growing.
    pub(super) fn shrink(&mut self) {
        let lists = self.names.values_mut().flat_map(BTreeMap::values_mut);
        for slots in lists.filter(|slots| slots.capacity() - slots.len() > slots.len() / 8) {
            slots.shrink_to_fit();
        }
    }

    /// A superset of the series that satisfy all matchers: conditions that an absent label satisfies are not looked
    /// at here.
    pub(super) fn candidates(&self, matchers: &[Matcher]) -> Vec<Slot> {
        let mut lists: Vec<Vec<Slot>> = Vec::new();
        for matcher in matchers.iter().filter(|matcher| !matcher.matches("")) {
            lists.push(self.having(matcher));
        }
        lists.sort_by_key(Vec::len);
        let mut lists = lists.into_iter();
        let Some(mut found) = lists.next() else { return self.all.clone() };
        for list in lists {
            found.retain(|slot| list.binary_search(slot).is_ok());
        }
        found
    }

    fn having(&self, matcher: &Matcher) -> Vec<Slot> {
        let Some(values) = self.names.get(matcher.name.as_str()) else { return Vec::new() };
        if let Some(exact) = matcher.exact() {
            return values.get(exact).cloned().unwrap_or_default();
        }
        let matching = values.iter().filter(|(value, _)| matcher.matches(value));
        let mut slots: Vec<Slot> = matching.flat_map(|(_, slots)| slots.iter().copied()).collect();
        slots.sort_unstable();
        slots
    }
}

fn insert_sorted(slots: &mut Vec<Slot>, slot: Slot) {
    if let Err(place) = slots.binary_search(&slot) {
        slots.insert(place, slot);
    }
}

fn remove_sorted(slots: &mut Vec<Slot>, slot: Slot) {
    if let Ok(place) = slots.binary_search(&slot) {
        slots.remove(place);
    }
}
