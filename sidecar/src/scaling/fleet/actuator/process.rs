//! Instances as programs on this machine.
//!
//! Each has a folder with a lock file, which it holds as its standard input. A lock lives as long as the last descriptor of
//! it, so whether an instance runs is asked of the kernel: it cannot be started twice, and whoever finds the lock held after
//! a crash of the sidecar finds in `/proc` who holds it. No pid is ever taken from a file.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    net::{IpAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use millrace_kit::config::Faults;
use parking_lot::Mutex;
use rustix::{
    fs::{FlockOperation, flock},
    process::{PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::{Actuator, Answer, Error, LAST_BYTES, Listing, Running, Stop, filled, last_lines, number_of};
use crate::scaling::fleet::MAX_INSTANCES;

mod lock;

use lock::{awaited_holder, is_held, lock_file};

/// Of what an instance prints; as much again is kept of what came before.
const MAX_LOG_BYTES: u64 = 16 << 20;
/// Begins the names of what is left of instances.
const ASIDE: &str = ".left-";
/// Not for the eyes of instances: settings of the sidecar, which hold secrets.
const OWN_SETTINGS: &str = "MILLRACE_SIDECAR__";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The program and its arguments. `{name}`, `{data}` and `{admin}` (addresses with ports) and `{data_dir}` are filled in.
    pub command: Vec<String>,
    /// Added to the arguments, such as `["--origin", "http://127.0.0.1:9000"]`.
    pub args: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Where instances listen.
    pub host: String,
    /// Of the first instance; the second has the next one, and so on.
    pub data_port: u16,
    pub admin_port: u16,
    /// Holds what each instance keeps, and its log; empty: a folder in the sidecar's.
    pub data_dir: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    host: String,
    data_port: u16,
    admin_port: u16,
    folder: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        let command = "millrace serve --listen {data} --admin {admin} --data-dir {data_dir}";
        Self {
            command: command.split(' ').map(str::to_owned).collect(),
            args: Vec::new(),
            environment: BTreeMap::new(),
            host: "127.0.0.1".to_owned(),
            data_port: 8101,
            admin_port: 8401,
            data_dir: String::new(),
        }
    }
}

impl Config {
    pub(in crate::scaling::fleet) fn resolve(
        &self,
        folder: &Path,
        key: &str,
        faults: &mut Faults,
    ) -> Settings {
        if self.command.first().is_none_or(String::is_empty) {
            faults.push(format!("{key}.command"), "must name a program");
        }
        if self.host.parse::<IpAddr>().map_or(true, |host| host.is_unspecified()) {
            faults.push(format!("{key}.host"), format!("{:?} is not the address of a host", self.host));
        }
        let last = |first: u16| first.checked_add(MAX_INSTANCES as u16);
        for (name, port) in [("data_port", self.data_port), ("admin_port", self.admin_port)] {
            if port == 0 || last(port).is_none() {
                faults.push(
                    format!("{key}.{name}"),
                    "must leave room for as many ports as there may be instances",
                );
            }
        }
        if self.data_port.abs_diff(self.admin_port) < MAX_INSTANCES as u16 {
            let message = format!("must be at least {MAX_INSTANCES} away from data_port");
            faults.push(format!("{key}.admin_port"), message);
        }
        Settings {
            command: self.command.iter().chain(&self.args).cloned().collect(),
            environment: self.environment.clone(),
            host: self.host.clone(),
            data_port: self.data_port,
            admin_port: self.admin_port,
            folder: match self.data_dir.as_str() {
                "" => folder.join("instances"),
                text => PathBuf::from(text),
            },
        }
    }
}

pub struct Processes(Arc<Inner>);

struct Inner {
    group: String,
    settings: Settings,
    /// Those that this sidecar has started itself; how they end is known.
    children: Mutex<BTreeMap<String, Child>>,
}

impl Processes {
    pub fn new(group: &str, settings: &Settings) -> Self {
        let inner = Inner { group: group.to_owned(), settings: settings.clone(), children: Mutex::default() };
        Self(Arc::new(inner))
    }

    /// Files may be slow.
    fn away<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        let inner = self.0.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&inner)).await;
            let done = done.map_err(|reason| Error(reason.to_string()))?;
            done.map_err(|reason| Error(reason.to_string()))
        })
    }
}

impl Actuator for Processes {
    fn list(&self) -> Answer<'_, Listing> {
        self.away(Inner::list)
    }

    fn start(&self, name: &str, _total: u32) -> Answer<'_, ()> {
        let name = name.to_owned();
        // A child is waited for by the runtime that it was started in.
        let runtime = tokio::runtime::Handle::current();
        self.away(move |inner| {
            let _entered = runtime.enter();
            inner.start(&name)
        })
    }

    fn stop(&self, name: &str, how: Stop, _total: u32) -> Answer<'_, ()> {
        let name = name.to_owned();
        self.away(move |inner| inner.stop(&name, how))
    }

    fn clear(&self, name: &str) -> Answer<'_, ()> {
        let name = name.to_owned();
        let moved = self.away(move |inner| inner.put_aside(&name));
        let inner = self.0.clone();
        Box::pin(async move {
            moved.await?;
            // A large cache takes its time, which nobody has to wait for.
            tokio::task::spawn_blocking(move || inner.sweep());
            Ok(())
        })
    }

    fn vacant(&self, name: &str) -> bool {
        let free = |address: &str| TcpListener::bind(address).is_ok();
        self.0.addresses(name).is_some_and(|(data, admin)| free(&data) && free(&admin))
    }
}

impl Inner {
    /// Data and admin. None: the name is none of ours.
    fn addresses(&self, name: &str) -> Option<(String, String)> {
        let after = number_of(&self.group, name)? - 1;
        let Settings { host, data_port, admin_port, .. } = &self.settings;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Some((
            format!("{host}:{}", data_port.checked_add(after)?),
            format!("{host}:{}", admin_port.checked_add(after)?),
        ))
    }

    fn ours(&self, name: &str) -> io::Result<(String, String)> {
        let unknown =
            || io::Error::new(io::ErrorKind::NotFound, format!("{name:?} is no name of an instance"));
        self.addresses(name).ok_or_else(unknown)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.settings.folder.join(name)
    }

    fn list(&self) -> io::Result<Listing> {
        let entries = match fs::read_dir(&self.settings.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
            entries => entries?,
        };
        let mut listing = Listing::default();
        for entry in entries {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            let Some((data, admin)) = self.addresses(&name) else { continue };
            let folder = self.folder(&name);
            let alive = is_held(&folder)?;
            let words = if alive { String::new() } else { self.last_words(&name, &folder) };
            if alive {
                bound_log(&folder);
            }
            listing.instances.insert(
                name,
                Running {
                    data_url: format!("http://{data}"),
                    admin_url: format!("http://{admin}"),
                    alive,
                    leaving: false,
                    words,
                },
            );
        }
        Ok(listing)
    }

    fn start(&self, name: &str) -> io::Result<()> {
        let (data, admin) = self.ours(name)?;
        let folder = self.folder(name);
        let data_dir = folder.join("data");
        fs::create_dir_all(&data_dir)?;
        let lock = lock_file(&folder)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let _ = fs::rename(folder.join("log"), folder.join("log.1"));
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
        let data_dir = data_dir.display().to_string();
        let values = [("name", name), ("data", &data), ("admin", &admin), ("data_dir", &data_dir)];
        let mut words = self.settings.command.iter().map(|word| filled(word, &values));
        let program = program(&words.next().unwrap_or_default());
        let mut command = Command::new(&program);
        command
            .args(words)
            .stdin(Stdio::from(lock))
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            // Ctrl-C is for the sidecar alone.
            .process_group(0)
            .kill_on_drop(false);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with(OWN_SETTINGS) {
                command.env_remove(variable);
            }
        }
        command.envs(self.settings.environment.iter().map(|(name, value)| (name, filled(value, &values))));
        let said = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", program.display()));
        let child = command.spawn().map_err(said)?;
        self.children.lock().insert(name.to_owned(), child);
        Ok(())
    }

    fn stop(&self, name: &str, how: Stop) -> io::Result<()> {
        self.ours(name)?;
        let Some(holder) = awaited_holder(&self.folder(name))? else { return Ok(()) };
        // A pid may be given to another once its process has ended: what is opened here stays the same process.
        let process = pidfd_open(holder.pid, PidfdFlags::empty())?;
        if !holder.holds() {
            return Ok(());
        }
        let sent = match how {
            Stop::Ask => pidfd_send_signal(&process, Signal::TERM),
            // With all that it has started, such as encoders.
            Stop::Kill => kill_process_group(holder.pid, Signal::KILL)
                .or_else(|_| pidfd_send_signal(&process, Signal::KILL)),
        };
        match sent {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn put_aside(&self, name: &str) -> io::Result<()> {
        self.ours(name)?;
        let folder = self.folder(name);
        if is_held(&folder)? {
            return Err(io::Error::other(format!("{name} still runs")));
        }
        self.children.lock().remove(name);
        // One of the same name may have been put aside and not be swept yet.
        let free = (0..1_000)
            .map(|number| self.folder(&format!("{ASIDE}{name}-{number}")))
            .find(|path| !path.exists());
        let aside =
            free.ok_or_else(|| io::Error::other(format!("what {name} has left cannot be removed")))?;
        match fs::rename(&folder, aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Also what another sidecar has put aside and not got to.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.settings.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{ASIDE}{}-", self.group)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn last_words(&self, name: &str, folder: &Path) -> String {
        let mut children = self.children.lock();
        let status = children.get_mut(name).and_then(|child| child.try_wait().ok().flatten());
        let mut text = status.map(|status| format!("{status}\n")).unwrap_or_default();
        text += &last_lines(&tail(&folder.join("log")).unwrap_or_default());
        text.trim_end().to_owned()
    }
}

/// What has no path is looked for beside this program, then where the system looks.
fn program(word: &str) -> PathBuf {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join(word));
    match word.contains('/') {
        true => PathBuf::from(word),
        false => beside().filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(word)),
    }
}

/// It is open for appending, so what is cut off is begun anew at the front.
fn bound_log(folder: &Path) {
    let log = folder.join("log");
    if fs::metadata(&log).is_ok_and(|file| file.len() > MAX_LOG_BYTES)
        && fs::copy(&log, folder.join("log.1")).is_ok()
    {
        let _ = OpenOptions::new().write(true).open(&log).and_then(|file| file.set_len(0));
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES as u64)))?;
    let mut text = Vec::new();
    file.take(LAST_BYTES as u64).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
