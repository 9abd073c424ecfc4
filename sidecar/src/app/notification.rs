//! Carries alerts from evaluations to receivers: one loop per receiver, woken by news.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use millrace_kit::{clock::Clock, tasks::Tasks};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Error, Instruments};
use crate::{
    config::Receiver,
    http::ReceiverStatus,
    model::Labels,
    notify::{Carrier, Journal, Mutes, Outbox, Settings},
    rules::{AlertState, AlertView, GroupView},
};

/// Without news a receiver is looked after this often: for retries and repeats.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub struct Notification {
    posts: Vec<Arc<Post>>,
    clock: Clock,
    instruments: Arc<Instruments>,
    /// What the last run has told was compared with what the rules say now.
    compared: AtomicBool,
}

/// What all receivers have in common.
pub(super) struct Common {
    pub(super) external_url: String,
    pub(super) external_labels: Labels,
    pub(super) valid_for: Duration,
    pub(super) mutes: Arc<Mutes>,
}

struct Post {
    outbox: Mutex<Outbox>,
    carrier: Carrier,
    news: Notify,
    last_error: Mutex<Option<String>>,
}

impl Notification {
    pub(super) fn new(
        receivers: &[Receiver],
        common: &Common,
        data_dir: &Path,
        clock: Clock,
        instruments: Arc<Instruments>,
    ) -> Result<Self, Error> {
        let mut posts = Vec::new();
        for receiver in receivers {
            let settings = Settings {
                receiver: receiver.name.clone(),
                external_url: common.external_url.clone(),
                external_labels: common.external_labels.clone(),
                send_resolved: receiver.send_resolved,
                kind: receiver.kind,
                group_by: receiver.group_by.clone(),
                timing: receiver.timing,
                valid_for: common.valid_for,
                mutes: common.mutes.clone(),
            };
            let journal = Journal::new(Some(data_dir.join(format!("told-{}.json", receiver.name))));
            posts.push(Arc::new(Post {
                outbox: Mutex::new(Outbox::new(settings, journal)),
                carrier: Carrier::new(&receiver.transport)?,
                news: Notify::new(),
                last_error: Mutex::new(None),
            }));
        }
        Ok(Self { posts, clock, instruments, compared: AtomicBool::new(false) })
    }

    pub(super) fn update(&self, alerts: &[AlertView]) {
        if alerts.is_empty() {
            return;
        }
        for post in &self.posts {
            post.outbox.lock().update(alerts);
            post.news.notify_one();
        }
    }

    /// Once after a start, when every rule has been evaluated: ends what the last run has told of and no rule knows.
    pub(super) fn compare(&self, views: impl FnOnce() -> Vec<GroupView>) {
        if self.compared.load(Ordering::Acquire) {
            return;
        }
        let views = views();
        let mut rules = views.iter().flat_map(|group| &group.rules);
        if !rules.all(|rule| rule.last_evaluation.is_some()) {
            return;
        }
        self.compared.store(true, Ordering::Release);
        let alerts = views.iter().flat_map(GroupView::alerts);
        let known = alerts.filter(|view| view.alert.state != AlertState::Pending);
        let known: HashSet<Labels> = known.map(|view| view.alert.labels).collect();
        for post in &self.posts {
            post.outbox.lock().end_unknown(&known, self.clock.unix_millis());
            post.news.notify_one();
        }
    }

    pub(super) fn spawn(self: &Arc<Self>, tasks: &Tasks) {
        for post in self.posts.clone() {
            let notification = self.clone();
            tasks.spawn_until_stop("notify", async move {
                loop {
                    notification.deliver(&post).await;
                    let _ = tokio::time::timeout(LOOK_AGAIN, post.news.notified()).await;
                }
            });
        }
    }

    /// Everything that is due, to every receiver.
    pub async fn deliver_all(&self) {
        for post in &self.posts {
            self.deliver(post).await;
        }
    }

    pub fn status(&self) -> Vec<ReceiverStatus> {
        let status = |post: &Arc<Post>| {
            let outbox = post.outbox.lock();
            ReceiverStatus {
                receiver: outbox.receiver().to_owned(),
                pending: outbox.pending(self.clock.unix_millis()),
                last_error: post.last_error.lock().clone(),
            }
        };
        self.posts.iter().map(status).collect()
    }

    async fn deliver(&self, post: &Post) {
        loop {
            let now = self.clock.unix_millis();
            let delivery = {
                let mut outbox = post.outbox.lock();
                let Some(delivery) = outbox.due(now) else { return };
                if let Err(error) = outbox.begin(&delivery, now) {
                    tracing::error!(receiver = outbox.receiver(), "notification journal: {error}");
                }
                delivery
            };
            let brought = post.carrier.bring(&delivery.message).await;
            let now = self.clock.unix_millis();
            let mut outbox = post.outbox.lock();
            self.instruments.notified(outbox.receiver(), brought.is_ok());
            match brought {
                Ok(()) => {
                    if let Err(error) = outbox.delivered(&delivery, now) {
                        tracing::error!(receiver = outbox.receiver(), "notification journal: {error}");
                    }
                    *post.last_error.lock() = None;
                }
                Err(error) => {
                    let again = outbox.failed(error.loss(), now);
                    let wait = again.saturating_sub(now) / 1000;
                    tracing::warn!(
                        receiver = outbox.receiver(),
                        "notification failed: {error}; again in {wait} s"
                    );
                    *post.last_error.lock() = Some(error.to_string());
                    return;
                }
            }
        }
    }
}
