//! Alerts as e-mail: a text that says what fires and what does not any more. Messages about one group form a thread.

use std::{fmt, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::{Mailbox, header},
    transport::smtp::authentication::Credentials,
};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    carrier::Error,
    payload::{Item, Payload},
};

/// Alerts written out; the rest is counted.
const WRITTEN: usize = 50;

/// Longer subjects are cut.
const SUBJECT_CHARS: usize = 200;

#[derive(Clone)]
pub struct MailServer {
    /// As lettre reads it: `smtps://host`, `smtp://host?tls=required`.
    pub url: String,
    /// User and password.
    pub credentials: Option<(String, String)>,
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    pub timeout: Duration,
}

/// Without the password.
impl fmt::Debug for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailServer").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Mail {
    pub subject: String,
    pub text: String,
    /// The same for all messages about a group.
    thread: String,
}

#[derive(Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    timeout: Duration,
}

impl MailServer {
    /// Whether the settings can be used at all; says nothing of the network.
    pub fn check(&self) -> Result<(), Error> {
        Mailer::new(self).map(|_| ())
    }
}

impl Mailer {
    pub(super) fn new(server: &MailServer) -> Result<Self, Error> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&server.url);
        let mut builder = builder.map_err(|reason| Error::Connection(reason.to_string()))?;
        if let Some((user, password)) = &server.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(Self {
            transport: builder.timeout(Some(server.timeout)).build(),
            from: server.from.clone(),
            to: server.to.clone(),
            timeout: server.timeout,
        })
    }

    pub(super) async fn send(&self, mail: &Mail) -> Result<(), Error> {
        let thread = format!("<{}@{}>", mail.thread, self.from.email.domain());
        let mut message = lettre::Message::builder()
            .from(self.from.clone())
            .subject(&mail.subject)
            .header(header::ContentType::TEXT_PLAIN)
            .header(header::References::from(thread.clone()))
            .header(header::InReplyTo::from(thread))
            .message_id(None)
            .date_now();
        for to in &self.to {
            message = message.to(to.clone());
        }
        let message =
            message.body(mail.text.clone()).map_err(|reason| Error::Connection(reason.to_string()))?;
        let sent = tokio::time::timeout(self.timeout, self.transport.send(message)).await;
        let sent = sent.map_err(|_| Error::Unknown(format!("no answer within {:?}", self.timeout)))?;
        sent.map(|_| ()).map_err(|reason| match reason.status() {
            Some(code) => Error::Connection(format!("mail server answered {code}: {reason}")),
            None if reason.is_timeout() || reason.is_response() => Error::Unknown(reason.to_string()),
            None => Error::Connection(crate::scrape::innermost(&reason)),
        })
    }
}

impl Mail {
    /// Subject as in Alertmanager's own e-mails.
    pub(super) fn new(payload: &Payload) -> Self {
        let firing = payload.alerts.iter().filter(|item| !item.is_resolved()).count();
        let status = match firing {
            0 => "RESOLVED".to_owned(),
            count => format!("FIRING:{count}"),
        };
        let group: Vec<&str> = payload.group_labels.values().map(String::as_str).collect();
        let common =
            payload.common_labels.iter().filter(|(name, _)| !payload.group_labels.contains_key(*name));
        let common: Vec<&str> = common.map(|(_, value)| value.as_str()).collect();
        let mut subject = format!("[{status}] {}", group.join(" "));
        if !common.is_empty() {
            subject += &format!(" ({})", common.join(" "));
        }
        let mut text = String::new();
        for (heading, resolved) in [("Firing", false), ("Resolved", true)] {
            let items: Vec<&Item> =
                payload.alerts.iter().filter(|item| item.is_resolved() == resolved).collect();
            if items.is_empty() {
                continue;
            }
            text += &format!("{heading} ({})\n\n", items.len());
            for item in items.iter().take(WRITTEN) {
                write_item(&mut text, item);
            }
            if items.len() > WRITTEN {
                text += &format!("… and {} more\n\n", items.len() - WRITTEN);
            }
        }
        text += &format!("--\n{}\n", payload.external_url);
        Self {
            subject: one_line(&subject),
            text,
            thread: format!("{:032x}", xxh3_128(payload.group_key().as_bytes())),
        }
    }
}

fn write_item(text: &mut String, item: &Item) {
    let name = item.labels.get(crate::model::ALERT_NAME).map_or("", String::as_str);
    *text += &format!("* {name}\n");
    for (name, value) in &item.annotations {
        *text += &format!("  {name}: {}\n", value.trim().replace('\n', "\n    "));
    }
    let labels: Vec<String> = item.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    *text += &format!("  labels: {}\n  since: {}\n", labels.join(", "), item.starts_at);
    if item.is_resolved() {
        *text += &format!("  until: {}\n", item.ends_at);
    }
    *text += &format!("  source: {}\n\n", item.generator_url);
}

/// Label values may hold line breaks.
fn one_line(text: &str) -> String {
    let line = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    line.take(SUBJECT_CHARS).collect::<String>().trim_end().to_owned()
}
