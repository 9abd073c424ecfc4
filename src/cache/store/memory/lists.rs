//! Where a shard keeps its entries: nodes in one array, linked into lists by their indexes.

use crate::cache::entry::EntryKey;

/// The lists of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// What has just come.
    Window,
    /// What has been let in, and not been asked for since.
    Probation,
    /// What has been asked for since.
    Protected,
    /// Blocks of fills that ended lately, or were not promised a place: their readers are about to come.
    Passing,
    /// What belongs to a running fill that was promised a place.
    Held,
}

/// No node.
const NONE: u32 = u32::MAX;

pub struct Node<V> {
    pub key: Packed,
    /// None: this node is free.
    pub value: Option<V>,
    pub weight: u32,
    newer: u32,
    older: u32,
    /// When it came to pass, in seconds.
    pub since: u32,
    pub place: Place,
    /// How often it was asked for, as of `epoch`.
    pub count: u8,
    pub epoch: u8,
}

/// A key without the alignment of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed([u32; 5]);

impl Packed {
    /// The key is random already, or a keyed hash; only its parts have to be mixed.
    pub fn hash(self) -> u64 {
        let [a, b, c, d, part] = self.0.map(u64::from);
        let one = (a | b << 32) ^ 0x9e37_79b9_7f4a_7c15;
        let other = (c | d << 32) ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let product = u128::from(one) * u128::from(other | 1);
        (product as u64) ^ (product >> 64) as u64
    }
}

impl From<EntryKey> for Packed {
    fn from(key: EntryKey) -> Self {
        let word = |n: u32| (key.id >> (32 * n)) as u32;
        Self([word(0), word(1), word(2), word(3), key.part])
    }
}

impl From<Packed> for EntryKey {
    fn from(Packed(words): Packed) -> Self {
        let id = words.iter().take(4).rev().fold(0, |id, word| id << 32 | u128::from(*word));
        Self { id, part: words[4] }
    }
}

#[derive(Clone, Copy)]
struct List {
    newest: u32,
    oldest: u32,
    weight: usize,
}

pub struct Lists<V> {
    nodes: Vec<Node<V>>,
    /// Free nodes, linked by `older`.
    free: u32,
    lists: [List; 5],
}

impl<V> Default for Lists<V> {
    fn default() -> Self {
        let lists = [List { newest: NONE, oldest: NONE, weight: 0 }; 5];
        Self { nodes: Vec::new(), free: NONE, lists }
    }
}

impl<V> Lists<V> {
    pub fn node(&self, at: u32) -> &Node<V> {
        &self.nodes[at as usize]
    }

    pub fn node_mut(&mut self, at: u32) -> &mut Node<V> {
        &mut self.nodes[at as usize]
    }

    /// Nodes, free ones among them.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn weight(&self, place: Place) -> usize {
        self.lists[place as usize].weight
    }

    pub fn oldest(&self, place: Place) -> Option<u32> {
        some(self.lists[place as usize].oldest)
    }

    /// The one in the same list that came next.
    pub fn newer(&self, at: u32) -> Option<u32> {
        some(self.node(at).newer)
    }

    /// As the newest of `place`. None when there are as many nodes as can be numbered.
    pub fn insert(&mut self, key: Packed, value: V, weight: u32, place: Place) -> Option<u32> {
        let node = Node {
            key,
            value: Some(value),
            weight,
            newer: NONE,
            older: NONE,
            since: 0,
            place,
            count: 0,
            epoch: 0,
        };
        let at = match some(self.free) {
            Some(at) => {
                self.free = self.node(at).older;
                *self.node_mut(at) = node;
                at
            }
            None => {
                let at = u32::try_from(self.nodes.len()).ok().and_then(some)?;
                self.nodes.push(node);
                at
            }
        };
        self.link(at, place);
        Some(at)
    }

    /// Frees the node.
    pub fn remove(&mut self, at: u32) -> Option<V> {
        self.unlink(at);
        let free = self.free;
        let node = self.node_mut(at);
        node.older = free;
        let value = node.value.take();
        self.free = at;
        value
    }

    /// It becomes the newest of `place`.
    pub fn renew(&mut self, at: u32, place: Place) {
        if self.lists[place as usize].newest != at {
            self.unlink(at);
            self.link(at, place);
        }
    }

    pub fn set_weight(&mut self, at: u32, weight: u32) {
        let node = self.node_mut(at);
        let before = std::mem::replace(&mut node.weight, weight);
        let place = node.place;
        let list = &mut self.lists[place as usize];
        list.weight = list.weight - before as usize + weight as usize;
    }

    fn link(&mut self, at: u32, place: Place) {
        let list = self.lists[place as usize];
        let node = self.node_mut(at);
        (node.place, node.newer, node.older) = (place, NONE, list.newest);
        let weight = node.weight as usize;
        match some(list.newest) {
            Some(newest) => self.node_mut(newest).newer = at,
            None => self.lists[place as usize].oldest = at,
        }
        let list = &mut self.lists[place as usize];
        list.newest = at;
        list.weight += weight;
    }

    fn unlink(&mut self, at: u32) {
        let Node { place, newer, older, weight, .. } = *self.node(at);
        match some(newer) {
            Some(newer) => self.node_mut(newer).older = older,
            None => self.lists[place as usize].newest = older,
        }
        match some(older) {
            Some(older) => self.node_mut(older).newer = newer,
            None => self.lists[place as usize].oldest = newer,
        }
        self.lists[place as usize].weight -= weight as usize;
    }
}

fn some(at: u32) -> Option<u32> {
    (at != NONE).then_some(at)
}
