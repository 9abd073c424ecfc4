//! The receivers of notifications, from what was written to what is meant.

use std::{collections::HashSet, time::Duration};

use millrace_kit::config::Faults;

use super::{Raw, Receiver, resolve::positive};
use crate::{
    model::is_label_name,
    notify::{self, EmailConfig, Grouping, Kind, MailServer, Timing, Transport},
};

/// Who is told of the same thing more often than this stops to read.
const LEAST_REPEAT: Duration = Duration::from_secs(60);

pub(super) fn resolve(raw: &Raw, faults: &mut Faults) -> Vec<Receiver> {
    let mut names = HashSet::new();
    let mut receivers = Vec::new();
    for (index, config) in raw.webhooks.iter().enumerate() {
        let key = format!("webhooks[{index}]");
        name(&config.name, &key, &mut names, faults);
        let timeout = positive(config.timeout_secs, &format!("{key}.timeout_secs"), faults);
        check(&config.grouping, &key, faults);
        let Some(url) = url(&config.url, &key, faults) else { continue };
        let transport = Transport::Http { url, timeout };
        receivers.push(grouped(&config.name, transport, Kind::Webhook(config.format), &config.grouping));
    }
    for (index, config) in raw.emails.iter().enumerate() {
        let key = format!("emails[{index}]");
        name(&config.name, &key, &mut names, faults);
        check(&config.grouping, &key, faults);
        let Some(server) = mail_server(config, &key, faults) else { continue };
        receivers.push(grouped(&config.name, Transport::Mail(server), Kind::Email, &config.grouping));
    }
    for (index, config) in raw.alertmanagers.iter().enumerate() {
        let key = format!("alertmanagers[{index}]");
        name(&config.name, &key, &mut names, faults);
        let timeout = positive(config.timeout_secs, &format!("{key}.timeout_secs"), faults);
        let Some(mut url) = url(&config.url, &key, faults) else { continue };
        url.set_path(&format!("{}/api/v2/alerts", url.path().trim_end_matches('/')));
        receivers.push(Receiver {
            name: config.name.clone(),
            transport: Transport::Http { url, timeout },
            kind: Kind::Alertmanager,
            send_resolved: true,
            group_by: Vec::new(),
            timing: Timing::at_once(notify::RESEND),
        });
    }
    receivers
}

fn grouped(name: &str, transport: Transport, kind: Kind, grouping: &Grouping) -> Receiver {
    Receiver {
        name: name.to_owned(),
        transport,
        kind,
        send_resolved: grouping.send_resolved,
        group_by: grouping.group_by.clone(),
        timing: Timing {
            wait: Duration::from_secs(grouping.group_wait_secs),
            interval: Duration::from_secs(grouping.group_interval_secs),
            repeat: Duration::from_secs(grouping.repeat_interval_secs).max(LEAST_REPEAT),
        },
    }
}

fn check(grouping: &Grouping, key: &str, faults: &mut Faults) {
    for label in grouping.group_by.iter().filter(|label| !is_label_name(label)) {
        faults.push(format!("{key}.group_by"), format!("{label:?} is not a label name"));
    }
}

/// It becomes part of a file name.
fn name<'a>(name: &'a str, key: &str, names: &mut HashSet<&'a str>, faults: &mut Faults) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        faults.push(format!("{key}.name"), "must consist of letters, digits, - and _");
    }
    if !names.insert(name) {
        faults.push(format!("{key}.name"), format!("{name:?} is there twice"));
    }
}

fn url(text: &str, key: &str, faults: &mut Faults) -> Option<url::Url> {
    let url = url::Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if url.is_none() {
        faults.push(format!("{key}.url"), "must be an http:// or https:// URL");
    }
    url
}

fn mail_server(config: &EmailConfig, key: &str, faults: &mut Faults) -> Option<MailServer> {
    let timeout = positive(config.timeout_secs, &format!("{key}.timeout_secs"), faults);
    let credentials = match (config.username.as_str(), config.password_file.as_str()) {
        ("", "") => None,
        ("", _) | (_, "") => {
            faults.push(format!("{key}.username"), "username and password_file go together");
            None
        }
        (user, file) => match std::fs::read_to_string(file) {
            Ok(password) => Some((user.to_owned(), password.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => {
                faults.push(format!("{key}.password_file"), format!("{file}: {error}"));
                None
            }
        },
    };
    if config.to.is_empty() {
        faults.push(format!("{key}.to"), "names nobody");
    }
    let mut mailbox = |text: &str, field: &str| {
        let parsed = text.parse();
        if parsed.is_err() {
            faults.push(format!("{key}.{field}"), format!("{text:?} is not a mail address"));
        }
        parsed.ok()
    };
    let from = mailbox(&config.from, "from");
    let to: Vec<_> = config.to.iter().filter_map(|to| mailbox(to, "to")).collect();
    let server = MailServer { url: config.server.clone(), credentials, from: from?, to, timeout };
    if let Err(error) = server.check() {
        faults.push(format!("{key}.server"), error.to_string());
        return None;
    }
    Some(server)
}
