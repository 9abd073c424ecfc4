//! Tells people about alerts: decides what each receiver does not know yet, and delivers it with retries. Never delays
//! an evaluation: evaluations only leave the newest state here.
//!
//! [`Outbox`] is the part without network and clock; a [`Carrier`] brings its messages.

mod alertmanager;
mod carrier;
mod email;
mod journal;
mod mute;
mod outbox;
mod payload;
mod receiver;
mod rhythm;
mod silences;
mod slack;
mod webhook;

pub use alertmanager::{RESEND, valid_for};
pub use carrier::{Carrier, Error, Loss, Message, Transport};
pub use email::{Mail, MailServer};
pub use journal::Journal;
pub use mute::{InForce, Inhibition, InhibitionConfig, Muted, Mutes};
pub use outbox::{Delivery, Kind, MAX_ALERTS, Outbox, Settings};
pub use payload::Payload;
pub use receiver::{AlertmanagerConfig, EmailConfig, Format, Grouping, WebhookConfig};
pub use rhythm::Timing;
pub use silences::{Condition, Error as SilenceError, Silence, Silences};
