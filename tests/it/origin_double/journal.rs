//! What the origin double has seen and sent, and waiting for it.

use std::{collections::HashMap, time::Duration};

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

#[derive(Clone, Debug)]
pub(crate) struct RecordedRequest {
    pub(crate) method: String,
    /// Path and query as they stood on the wire.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

pub(super) struct Journal {
    entries: Mutex<Entries>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Entries {
    requests: Vec<RecordedRequest>,
    /// By target.
    bytes_sent: HashMap<String, u64>,
    aborted: HashMap<String, usize>,
    connections: usize,
}

impl Default for Journal {
    fn default() -> Self {
        Self { entries: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl RecordedRequest {
    /// The field's first value, or empty.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Journal {
    pub(super) fn request(&self, request: RecordedRequest) {
        self.entries.lock().requests.push(request);
        self.changed.send_replace(());
    }

    pub(super) fn sent(&self, target: &str, bytes: u64) {
        *self.entries.lock().bytes_sent.entry(target.to_owned()).or_default() += bytes;
        self.changed.send_replace(());
    }

    pub(super) fn abort(&self, target: &str) {
        *self.entries.lock().aborted.entry(target.to_owned()).or_default() += 1;
        self.changed.send_replace(());
    }

    pub(super) fn connection(&self) {
        self.entries.lock().connections += 1;
        self.changed.send_replace(());
    }

    pub(super) fn hits(&self, path: &str) -> usize {
        self.entries.lock().requests.iter().filter(|request| matches(path, &request.target)).count()
    }

    pub(super) fn total_hits(&self) -> usize {
        self.entries.lock().requests.len()
    }

    pub(super) fn requests(&self, path: &str) -> Vec<RecordedRequest> {
        let entries = self.entries.lock();
        entries.requests.iter().filter(|request| matches(path, &request.target)).cloned().collect()
    }

    pub(super) fn bytes_sent(&self, path: &str) -> u64 {
        let entries = self.entries.lock();
        entries.bytes_sent.iter().filter(|(target, _)| matches(path, target)).map(|(_, bytes)| bytes).sum()
    }

    pub(super) fn aborted(&self, path: &str) -> usize {
        let entries = self.entries.lock();
        entries.aborted.iter().filter(|(target, _)| matches(path, target)).map(|(_, count)| count).sum()
    }

    pub(super) fn connections(&self) -> usize {
        self.entries.lock().connections
    }

    pub(super) async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !reached(self) {
                changed.changed().await.unwrap();
            }
        };
        assert!(timeout(Duration::from_secs(30), wait).await.is_ok(), "never came to {what}");
    }
}

/// A path stands for all its queries.
pub(super) fn matches(path: &str, target: &str) -> bool {
    path == target || (!path.contains('?') && target.split('?').next() == Some(path))
}
