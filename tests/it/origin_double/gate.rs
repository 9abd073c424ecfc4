//! Holds answers back until the test lets them go, so that tests order events without sleeping.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

/// Clones share one gate.
#[derive(Clone)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    arrived: watch::Sender<usize>,
}

impl Gate {
    /// Shut.
    pub(crate) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), arrived: watch::Sender::new(0) }
    }

    /// Opens for all who wait and all who come.
    pub(crate) fn release(&self) {
        self.permits.close();
    }

    /// Lets one through, now or when it comes.
    pub(crate) fn release_one(&self) {
        self.permits.add_permits(1);
    }

    /// Waits until `count` answers have arrived at the gate since it was made; panics after half a minute.
    pub(crate) async fn arrived(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        let wait = arrived.wait_for(|now| *now >= count);
        assert!(
            timeout(Duration::from_secs(30), wait).await.is_ok(),
            "{count} answers never arrived at the gate"
        );
    }

    pub(super) async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        // An error says that the gate stands open.
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
    }
}
