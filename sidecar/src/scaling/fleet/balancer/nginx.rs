//! Members as an `upstream` of nginx, in a file of our own that nginx's configuration includes, followed by a reload. Old
//! workers finish what they have; nginx knows neither slow start nor how many requests a member has.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf, process::Stdio, time::Duration};

use millrace_kit::config::Faults;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{process::Command, sync::Mutex};

use super::{Answer, Balancer, Duty, Error, Members, Seat, Seats};
use crate::{durable, scaling::fleet::settings::needed};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Is written; nginx's configuration has to include it in `http`.
    pub file: String,
    pub upstream: String,
    /// First lines of the upstream, such as `["least_conn;", "keepalive 32;"]`.
    pub directives: Vec<String>,
    /// Makes nginx read its configuration anew.
    pub reload: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    file: PathBuf,
    upstream: String,
    directives: Vec<String>,
    reload: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: "/etc/nginx/conf.d/millrace-upstream.conf".to_owned(),
            upstream: "millrace".to_owned(),
            directives: vec!["least_conn;".to_owned()],
            reload: ["nginx", "-s", "reload"].map(str::to_owned).to_vec(),
        }
    }
}

impl Config {
    pub(in crate::scaling::fleet) fn resolve(&self, key: &str, faults: &mut Faults) -> Settings {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.upstream.is_empty() || !self.upstream.bytes().all(plain) {
            let message = format!("{:?} is not a name of an upstream", self.upstream);
            faults.push(format!("{key}.upstream"), message);
        }
        if self.reload.first().is_none_or(String::is_empty) {
            faults.push(format!("{key}.reload"), "must name a program");
        }
        Settings {
            file: PathBuf::from(needed(&self.file, &format!("{key}.file"), faults)),
            upstream: self.upstream.clone(),
            directives: self.directives.clone(),
            reload: self.reload.clone(),
        }
    }
}

pub struct Nginx {
    settings: Settings,
    /// What nginx has read since this sidecar began.
    told: Mutex<Option<Told>>,
}

struct Told {
    text: String,
    seats: Seats,
}

impl Nginx {
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), told: Mutex::new(None) }
    }

    fn text(&self, members: &Members) -> String {
        let mut text = format!("# Written by millrace-sidecar.\nupstream {} {{\n", self.settings.upstream);
        for line in &self.settings.directives {
            let _ = writeln!(text, "    {line}");
        }
        let serving: Vec<_> = members.values().filter(|member| member.duty == Duty::Serving).collect();
        for member in &serving {
            let _ = writeln!(text, "    server {};", member.address);
        }
        if serving.is_empty() {
            // nginx takes no upstream without a server.
            text += "    server 127.0.0.1:1 down;\n";
        }
        text + "}\n"
    }

    async fn reload(&self) -> Result<(), Error> {
        let said = |reason: &dyn std::fmt::Display| Error(format!("nginx: reload: {reason}"));
        let [program, args @ ..] = self.settings.reload.as_slice() else { return Ok(()) };
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        let ended = tokio::time::timeout(TIMEOUT, command.output()).await;
        let ended = ended.map_err(|_| said(&format!("not within {TIMEOUT:?}")))?;
        let ended = ended.map_err(|reason| said(&reason))?;
        match ended.status.success() {
            true => Ok(()),
            false => Err(said(&String::from_utf8_lossy(&ended.stderr).trim())),
        }
    }
}

impl Balancer for Nginx {
    fn seats(&self) -> Answer<'_, Seats> {
        Box::pin(async {
            Ok(self.told.lock().await.as_ref().map_or_else(BTreeMap::new, |told| told.seats.clone()))
        })
    }

    fn seat(&self, members: &Members) -> Answer<'_, ()> {
        let seat = |duty| Seat { duty, connections: None };
        let seats = members.iter().map(|(name, member)| (name.clone(), seat(member.duty))).collect();
        let text = self.text(members);
        Box::pin(async move {
            let mut told = self.told.lock().await;
            if told.as_ref().is_none_or(|told| told.text != text) {
                // Until the reload has worked it is not known what nginx goes by.
                *told = None;
                let (file, written) = (self.settings.file.clone(), text.clone());
                let replaced =
                    tokio::task::spawn_blocking(move || durable::replace(&file, written.as_bytes())).await;
                let replaced = replaced.map_err(std::io::Error::other).flatten();
                let at = || self.settings.file.display();
                replaced.map_err(|reason| Error(format!("nginx: {}: {reason}", at())))?;
                self.reload().await?;
            }
            *told = Some(Told { text, seats });
            Ok(())
        })
    }
}
