//! What a service manager that asks for it is told (`sd_notify`): `Type=notify` units wait for it.

use sd_notify::NotifyState;

/// The ports are open and requests are answered.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// No more than what is in flight is finished.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Without `NOTIFY_SOCKET` in the environment nobody has asked.
fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("the service manager could not be told: {error}");
    }
}
