//! Carries alerts from evaluations to receivers: one loop per receiver, woken by news.

use std::{path::Path, sync::Arc, time::Duration};

use millrace_kit::{clock::Clock, tasks::Tasks};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Error, Instruments};
use crate::{
    config::Receiver,
    http::ReceiverStatus,
    model::Labels,
    notify::{Journal, Mutes, Outbox, Settings, Webhook},
    rules::AlertView,
};

/// Without news a receiver is looked after this often: for retries and repeats.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub struct Notification {
    posts: Vec<Arc<Post>>,
    clock: Clock,
    instruments: Arc<Instruments>,
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
    webhook: Webhook,
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
                repeat_interval: receiver.repeat_interval,
                kind: receiver.kind.clone(),
                valid_for: common.valid_for,
                mutes: common.mutes.clone(),
            };
            let journal = Journal::new(Some(data_dir.join(format!("told-{}.json", receiver.name))));
            posts.push(Arc::new(Post {
                outbox: Mutex::new(Outbox::new(settings, journal)),
                webhook: Webhook::new(receiver.url.clone(), receiver.timeout)?,
                news: Notify::new(),
                last_error: Mutex::new(None),
            }));
        }
        Ok(Self { posts, clock, instruments })
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
            let due = post.outbox.lock().due(self.clock.unix_millis());
            let Some(delivery) = due else { return };
            let posted = post.webhook.post(&delivery.body).await;
            let now = self.clock.unix_millis();
            let mut outbox = post.outbox.lock();
            self.instruments.notified(outbox.receiver(), posted.is_ok());
            match posted {
                Ok(()) => {
                    if let Err(error) = outbox.delivered(&delivery, now) {
                        tracing::error!(receiver = outbox.receiver(), "notification journal: {error}");
                    }
                    *post.last_error.lock() = None;
                }
                Err(error) => {
                    let again = outbox.failed(now);
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
