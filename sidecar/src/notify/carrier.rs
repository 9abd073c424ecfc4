//! Brings one message to one receiver, over HTTP or as e-mail.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use url::Url;

use super::{
    email::{Mail, MailServer, Mailer},
    webhook::Webhook,
};

/// How a receiver is reached.
#[derive(Debug, Clone)]
pub enum Transport {
    Http { url: Url, timeout: Duration },
    Mail(MailServer),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// For a POST.
    Json(String),
    Mail(Mail),
}

#[derive(Debug)]
pub enum Carrier {
    Http(Webhook),
    Mail(Mailer),
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("{0}")]
    Connection(String),
    #[error("answered {0}")]
    Status(u16),
    /// Something was sent, and it is not known what became of it.
    #[error("{0}")]
    Unknown(String),
    #[error("the receiver does not take this kind of message")]
    Kind,
}

/// What a failed attempt may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The receiver has not taken it.
    Refused,
    /// It may have arrived.
    Unknown,
}

impl Error {
    pub fn loss(&self) -> Loss {
        match self {
            Self::Unknown(_) => Loss::Unknown,
            Self::Connection(_) | Self::Status(_) | Self::Kind => Loss::Refused,
        }
    }
}

impl Message {
    pub(super) fn json(body: &impl Serialize) -> Self {
        // Maps of strings: there is nothing in them that JSON cannot say.
        Self::Json(serde_json::to_string(body).unwrap_or_default())
    }
}

impl Carrier {
    pub fn new(transport: &Transport) -> Result<Self, Error> {
        Ok(match transport {
            Transport::Http { url, timeout } => Self::Http(Webhook::new(url.clone(), *timeout)?),
            Transport::Mail(server) => Self::Mail(Mailer::new(server)?),
        })
    }

    pub async fn bring(&self, message: &Message) -> Result<(), Error> {
        match (self, message) {
            (Self::Http(webhook), Message::Json(body)) => webhook.post(body.clone()).await,
            (Self::Mail(mailer), Message::Mail(mail)) => mailer.send(mail).await,
            _ => Err(Error::Kind),
        }
    }
}
