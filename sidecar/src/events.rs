//! News for whoever has the dashboard open: an alert changed, a target went down, a decision was taken. Publishing never waits:
//! who does not keep up is told how much was missed, and asks for the present state instead.

use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};

/// Events kept for a listener that is behind.
const KEPT: usize = 256;

/// Where news are published and heard.
#[derive(Debug)]
pub struct Hub {
    /// None once closed.
    sender: RwLock<Option<broadcast::Sender<Event>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `alert`, `targets`, `decision` or `instance`.
    pub kind: &'static str,
    /// JSON, in one line.
    pub data: Arc<str>,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Event(Event),
    /// So many events were published faster than they were read.
    Missed(u64),
}

#[derive(Debug)]
pub struct Receiver(Option<broadcast::Receiver<Event>>);

impl Default for Hub {
    fn default() -> Self {
        Self { sender: RwLock::new(Some(broadcast::Sender::new(KEPT))) }
    }
}

impl Hub {
    pub fn publish(&self, kind: &'static str, data: &impl Serialize) {
        let sender = self.sender.read();
        // Without listeners there is nobody to write for.
        let Some(sender) = sender.as_ref().filter(|sender| sender.receiver_count() > 0) else { return };
        match serde_json::to_string(data) {
            Ok(data) => {
                // Fails only when the last listener has just left.
                let _ = sender.send(Event { kind, data: data.into() });
            }
            Err(error) => tracing::error!(kind, "an event cannot be written as JSON: {error}"),
        }
    }

    pub fn subscribe(&self) -> Receiver {
        Receiver(self.sender.read().as_ref().map(broadcast::Sender::subscribe))
    }

    /// Those who listen now.
    pub fn listeners(&self) -> usize {
        self.sender.read().as_ref().map_or(0, broadcast::Sender::receiver_count)
    }

    /// Ends what every listener hears, so that nobody waits for more.
    pub fn close(&self) {
        *self.sender.write() = None;
    }
}

impl Receiver {
    /// None when the hub is closed and everything has been heard.
    pub async fn next(&mut self) -> Option<News> {
        match self.0.as_mut()?.recv().await {
            Ok(event) => Some(News::Event(event)),
            Err(RecvError::Lagged(missed)) => Some(News::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_hear_what_comes_after_them_until_the_hub_closes() {
        let hub = Hub::default();
        hub.publish("alert", &"nobody hears this");
        let mut listener = hub.subscribe();
        hub.publish("targets", &serde_json::json!({ "health": "down" }));
        hub.close();
        hub.publish("alert", &"too late");
        let heard = Event { kind: "targets", data: r#"{"health":"down"}"#.into() };
        assert_eq!(listener.next().await, Some(News::Event(heard)));
        assert_eq!(listener.next().await, None);
        assert_eq!(hub.subscribe().next().await, None, "who comes after the end hears of it at once");
    }

    #[tokio::test]
    async fn a_slow_listener_loses_the_oldest_and_is_told_so() {
        let hub = Hub::default();
        let mut slow = hub.subscribe();
        for number in 0..KEPT + 3 {
            hub.publish("alert", &number);
        }
        assert_eq!(slow.next().await, Some(News::Missed(3)));
        let Some(News::Event(first)) = slow.next().await else { panic!("the oldest that is kept") };
        assert_eq!(&*first.data, "3");
    }
}
