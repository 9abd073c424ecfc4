//! The inverted index: label name → value → slots of the series that carry it, in ascending order.

use std::{
    borrow::Cow,
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

    /// The series that satisfy those matchers that are [`decided`] here; the others are still to be looked at.
    pub(super) fn candidates(&self, matchers: &[Matcher]) -> Vec<Slot> {
        let mut lists: Vec<Cow<'_, [Slot]>> =
            matchers.iter().filter(|matcher| decided(matcher)).map(|matcher| self.having(matcher)).collect();
        lists.sort_by_key(|list| list.len());
        let mut lists = lists.into_iter();
        let Some(shortest) = lists.next() else { return self.all.clone() };
        let mut found = shortest.into_owned();
        for list in lists {
            found.retain(|slot| list.binary_search(slot).is_ok());
        }
        found
    }

    fn having(&self, matcher: &Matcher) -> Cow<'_, [Slot]> {
        let Some(values) = self.names.get(matcher.name.as_str()) else { return Cow::default() };
        if let Some(exact) = matcher.exact() {
            return values.get(exact).map_or_else(Cow::default, |slots| Cow::Borrowed(slots.as_slice()));
        }
        let matching = values.iter().filter(|(value, _)| matcher.matches(value));
        let mut slots: Vec<Slot> = matching.flat_map(|(_, slots)| slots.iter().copied()).collect();
        slots.sort_unstable();
        Cow::Owned(slots)
    }
}

/// Whether the index alone knows who satisfies a condition: not one that an absent label satisfies.
pub(super) fn decided(matcher: &Matcher) -> bool {
    !matcher.matches("")
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
