//! Members as dynamic servers of an HAProxy backend, by its runtime API. Servers that stand in HAProxy's own configuration
//! are left alone: ours are those whose names begin with the group's name and a colon.

use std::{collections::BTreeMap, time::Duration};

use millrace_kit::config::Faults;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::{Answer, Balancer, Duty, Error, Member, Members, Seat, Seats};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 4 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Of the runtime API, with level admin: `unix:///run/haproxy/admin.sock` or `tcp://127.0.0.1:9999`.
    pub address: String,
    pub backend: String,
    /// A new member gets its full share of requests after so long.
    pub slow_start_secs: u64,
    /// Further keywords of each server, as in HAProxy's configuration.
    pub options: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    address: Address,
    backend: String,
    options: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Address {
    Unix(String),
    Tcp(String),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "unix:///run/haproxy/admin.sock".to_owned(),
            backend: "millrace".to_owned(),
            slow_start_secs: 10,
            options: "check inter 1s fall 2 rise 1".to_owned(),
        }
    }
}

impl Config {
    pub(in crate::scaling::fleet) fn resolve(&self, key: &str, faults: &mut Faults) -> Settings {
        let tcp = self.address.strip_prefix("tcp://");
        let address = match (self.address.strip_prefix("unix://"), tcp) {
            (Some(path), _) if path.starts_with('/') => Address::Unix(path.to_owned()),
            (_, Some(address)) if address.contains(':') => Address::Tcp(address.to_owned()),
            _ => {
                let message = format!("{:?} must begin with unix:// or tcp://", self.address);
                faults.push(format!("{key}.address"), message);
                Address::Unix(String::new())
            }
        };
        // Both become part of commands.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if self.backend.is_empty() || !self.backend.bytes().all(plain) {
            faults.push(format!("{key}.backend"), format!("{:?} is not a name of a backend", self.backend));
        }
        if self.options.contains([';', '\n', '\r']) {
            faults.push(format!("{key}.options"), "must be keywords of a server, in one line");
        }
        let slow_start = match self.slow_start_secs {
            0 => String::new(),
            seconds => format!(" slowstart {seconds}s"),
        };
        let options = format!("{}{slow_start}", self.options.trim());
        Settings { address, backend: self.backend.clone(), options }
    }
}

pub struct Haproxy {
    prefix: String,
    settings: Settings,
}

/// A server as HAProxy shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    address: String,
    standing: Standing,
    connections: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Ready,
    Draining,
    Maintenance,
}

impl Haproxy {
    pub fn new(group: &str, settings: &Settings) -> Self {
        Self { prefix: format!("{group}:"), settings: settings.clone() }
    }

    async fn tell(&self, command: &str) -> Result<String, Error> {
        let said = |error: std::io::Error| Error(format!("HAProxy: {error}"));
        let exchange = async {
            match &self.settings.address {
                Address::Unix(path) => exchange(UnixStream::connect(path).await?, command).await,
                Address::Tcp(address) => exchange(TcpStream::connect(address).await?, command).await,
            }
        };
        let answer = tokio::time::timeout(TIMEOUT, exchange).await;
        answer.map_err(|_| Error(format!("HAProxy: no answer within {TIMEOUT:?}")))?.map_err(said)
    }

    /// A command that says nothing, or one of `good`, when it has worked.
    async fn order(&self, command: &str, good: &[&str]) -> Result<(), Error> {
        let answer = self.tell(command).await?;
        let answer = answer.trim();
        match answer.is_empty() || good.iter().any(|good| answer.contains(good)) {
            true => Ok(()),
            false => Err(Error(format!("HAProxy: {command}: {answer}"))),
        }
    }

    async fn servers(&self) -> Result<BTreeMap<String, Server>, Error> {
        let backend = &self.settings.backend;
        let answer = self.tell(&format!("show stat {backend} 4 -1")).await?;
        let servers = servers(&answer, backend)?;
        let ours =
            |(name, server): (String, Server)| Some((name.strip_prefix(&self.prefix)?.to_owned(), server));
        Ok(servers.into_iter().filter_map(ours).collect())
    }

    /// As commands name it.
    fn server(&self, name: &str) -> String {
        format!("{}/{}{name}", self.settings.backend, self.prefix)
    }

    async fn set(&self, name: &str, standing: Standing) -> Result<(), Error> {
        let standing = match standing {
            Standing::Ready => "ready",
            Standing::Draining => "drain",
            Standing::Maintenance => "maint",
        };
        self.order(&format!("set server {} state {standing}", self.server(name)), &[]).await
    }

    async fn add(&self, name: &str, member: &Member) -> Result<(), Error> {
        let (server, options) = (self.server(name), &self.settings.options);
        let command = format!("add server {server} {} {options}", member.address);
        self.order(&command, &["New server registered"]).await?;
        if options.split(' ').any(|word| word == "check") {
            self.order(&format!("enable health {server}"), &[]).await?;
        }
        let standing = standing(member.duty);
        self.set(name, Standing::Ready).await?;
        if standing == Standing::Ready { Ok(()) } else { self.set(name, standing).await }
    }

    async fn remove(&self, name: &str, seen: &Server) -> Result<(), Error> {
        if seen.standing != Standing::Maintenance {
            self.set(name, Standing::Maintenance).await?;
        }
        // It cannot be deleted while it is answering; it gets nothing new, and is deleted in a later round.
        let answer = self.tell(&format!("del server {}", self.server(name))).await?;
        if !answer.contains("deleted") {
            tracing::debug!(server = name, "HAProxy: {}", answer.trim());
        }
        Ok(())
    }

    async fn seat_one(&self, name: &str, member: &Member, seen: Option<&Server>) -> Result<(), Error> {
        match seen {
            None => self.add(name, member).await,
            Some(seen) if seen.address != member.address => {
                self.remove(name, seen).await?;
                self.add(name, member).await
            }
            Some(seen) if seen.standing != standing(member.duty) => {
                self.set(name, standing(member.duty)).await
            }
            Some(_) => Ok(()),
        }
    }
}

impl Balancer for Haproxy {
    fn seats(&self) -> Answer<'_, Seats> {
        Box::pin(async {
            let servers = self.servers().await?.into_iter();
            let mut seats = Seats::new();
            for (name, seen) in servers {
                let duty = match seen.standing {
                    Standing::Ready => Duty::Serving,
                    Standing::Draining => Duty::Draining,
                    Standing::Maintenance => continue,
                };
                let seat = Seat { duty, connections: Some(seen.connections) };
                seats.insert(name, seat);
            }
            Ok(seats)
        })
    }

    fn seat(&self, members: &Members) -> Answer<'_, ()> {
        let members = members.clone();
        Box::pin(async move {
            let seen = self.servers().await?;
            let mut failed = None;
            // First those that are to get nothing any more; one that fails keeps no other from being told.
            for (name, server) in seen.iter().filter(|(name, _)| !members.contains_key(*name)) {
                failed = self.remove(name, server).await.err().or(failed);
            }
            for (name, member) in &members {
                failed = self.seat_one(name, member, seen.get(name)).await.err().or(failed);
            }
            failed.map_or(Ok(()), Err)
        })
    }
}

fn standing(duty: Duty) -> Standing {
    match duty {
        Duty::Serving => Standing::Ready,
        Duty::Draining => Standing::Draining,
    }
}

/// One command a connection; HAProxy closes it at the end of the answer.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, command: &str) -> std::io::Result<String> {
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// From `show stat`, whose columns are named by its first line.
fn servers(answer: &str, backend: &str) -> Result<BTreeMap<String, Server>, Error> {
    let mut lines = answer.lines().filter(|line| !line.is_empty());
    let head = lines.next().and_then(|line| line.strip_prefix("# "));
    let Some(head) = head else {
        return Err(Error(format!("HAProxy: backend {backend}: {}", answer.trim())));
    };
    let columns: Vec<_> = head.split(',').collect();
    let mut servers = BTreeMap::new();
    for line in lines {
        let fields: Vec<_> = line.split(',').collect();
        let field = |name: &str| {
            columns.iter().position(|column| *column == name).and_then(|at| fields.get(at)).copied()
        };
        let (Some(name), Some(status)) = (field("svname"), field("status")) else { continue };
        let standing = match status.split(' ').next() {
            Some("MAINT") => Standing::Maintenance,
            Some("DRAIN") => Standing::Draining,
            _ => Standing::Ready,
        };
        let connections = field("scur").and_then(|number| number.parse().ok()).unwrap_or(0);
        let address = field("addr").unwrap_or_default().to_owned();
        servers.insert(name.to_owned(), Server { address, standing, connections });
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_by_the_names_of_the_columns() {
        let answer = "# pxname,svname,qcur,scur,status,addr,\nmr,edge-1,0,3,UP,127.0.0.1:1,\n\
                      mr,edge-2,0,1,DRAIN,127.0.0.1:2,\nmr,edge-3,0,0,MAINT (resolution),127.0.0.1:3,\n\
                      mr,edge-4,0,0,no check,127.0.0.1:4,\n\n";
        let servers = servers(answer, "mr").unwrap();
        let seen: Vec<_> = servers.values().map(|server| (server.standing, server.connections)).collect();
        assert_eq!(
            seen,
            [(Standing::Ready, 3), (Standing::Draining, 1), (Standing::Maintenance, 0), (Standing::Ready, 0)]
        );
        assert!(super::servers("No such proxy.\n", "mr").unwrap_err().0.contains("No such proxy"));
    }
}
