//! Processes by name, such as ffmpeg workers: how many, their CPU time and memory, under the names of process-exporter.
//! CPU time is that of all processes of the name since the sidecar started, ended ones included, so that it only grows.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
};

use parking_lot::Mutex;

use super::{Error, Exposition, exposition::Type, host::TICKS_PER_SECOND};

/// Processes looked at.
const MAX_PROCESSES: usize = 100_000;

#[derive(Debug)]
pub(super) struct Processes {
    proc: PathBuf,
    names: Vec<String>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// CPU ticks (user, system) by process; a process is known by its number and start time.
    alive: HashMap<(u32, u64), (u64, u64)>,
    /// By name.
    total: BTreeMap<String, (u64, u64)>,
}

struct Process {
    id: (u32, u64),
    name: String,
    ticks: (u64, u64),
    resident_bytes: u64,
    threads: u64,
}

impl Processes {
    pub(super) fn new(proc: PathBuf, names: &[String]) -> Self {
        Self { proc, names: names.to_vec(), seen: Mutex::default() }
    }

    pub(super) fn collect(&self) -> Result<Exposition, Error> {
        let running = self.running()?;
        let mut seen = self.seen.lock();
        let mut alive = HashMap::new();
        for process in &running {
            let (user, system) = seen.alive.get(&process.id).copied().unwrap_or_default();
            let total = seen.total.entry(process.name.clone()).or_default();
            total.0 += process.ticks.0.saturating_sub(user);
            total.1 += process.ticks.1.saturating_sub(system);
            alive.insert(process.id, process.ticks);
        }
        seen.alive = alive;
        let mut found = Exposition::default();
        let mut family =
            found.family("namedprocess_namegroup_num_procs", Type::Gauge, "Processes of the name.");
        for name in &self.names {
            family.sample(&[("groupname", name)], of(&running, name).count() as f64);
        }
        let mut family = found.family("namedprocess_namegroup_num_threads", Type::Gauge, "Their threads.");
        for name in &self.names {
            family.sample(
                &[("groupname", name)],
                of(&running, name).map(|process| process.threads).sum::<u64>() as f64,
            );
        }
        let help = "Their CPU time, ended ones included.";
        let mut family = found.family("namedprocess_namegroup_cpu_seconds_total", Type::Counter, help);
        for name in &self.names {
            let (user, system) = seen.total.get(name).copied().unwrap_or_default();
            for (mode, ticks) in [("user", user), ("system", system)] {
                family.sample(&[("groupname", name), ("mode", mode)], ticks as f64 / TICKS_PER_SECOND);
            }
        }
        let mut family = found.family("namedprocess_namegroup_memory_bytes", Type::Gauge, "Their memory.");
        for name in &self.names {
            let resident: u64 = of(&running, name).map(|process| process.resident_bytes).sum();
            family.sample(&[("groupname", name), ("memtype", "resident")], resident as f64);
        }
        Ok(found)
    }

    /// Those of the wanted names. One that ends while it is looked at is left out.
    fn running(&self) -> Result<Vec<Process>, Error> {
        let mut running = Vec::new();
        for entry in fs::read_dir(&self.proc)?.take(MAX_PROCESSES) {
            let name = entry?.file_name();
            let Some(number) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            running.extend(self.process(number));
        }
        Ok(running)
    }

    fn process(&self, number: u32) -> Option<Process> {
        let folder = self.proc.join(number.to_string());
        let comm = fs::read_to_string(folder.join("comm")).ok()?;
        let name = self.names.iter().find(|name| **name == comm.trim_end())?;
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        let status = fs::read_to_string(folder.join("status")).ok()?;
        // The name, in brackets, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // Numbered from 3 in proc(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Some(Process {
            id: (number, field(22)?),
            name: name.clone(),
            ticks: (field(14)?, field(15)?),
            resident_bytes: resident.unwrap_or(0) * 1024,
            threads: field(20)?,
        })
    }
}

fn of<'a>(running: &'a [Process], name: &'a str) -> impl Iterator<Item = &'a Process> {
    running.iter().filter(move |process| process.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_only_grows_and_names_may_be_odd() {
        let folder = tempfile::tempdir().unwrap();
        let put = |number: u32, ticks: u64| {
            let process = folder.path().join(number.to_string());
            fs::create_dir_all(&process).unwrap();
            fs::write(process.join("comm"), "ff) mpeg\n").unwrap();
            let stat = format!("{number} (ff) mpeg) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 50 0 0 20 0 3 0 777 0 0");
            fs::write(process.join("stat"), stat).unwrap();
            fs::write(process.join("status"), "Name:\tx\nVmRSS:\t    2048 kB\n").unwrap();
        };
        let processes = Processes::new(folder.path().to_owned(), &["ff) mpeg".to_owned(), "none".to_owned()]);
        put(1, 100);
        put(2, 200);
        let found = processes.collect().unwrap().into_text();
        for line in [
            "num_procs{groupname=\"ff) mpeg\"} 2\n",
            "num_procs{groupname=\"none\"} 0\n",
            "num_threads{groupname=\"ff) mpeg\"} 6\n",
            "cpu_seconds_total{groupname=\"ff) mpeg\",mode=\"user\"} 3\n",
            "cpu_seconds_total{groupname=\"ff) mpeg\",mode=\"system\"} 1\n",
            "memory_bytes{groupname=\"ff) mpeg\",memtype=\"resident\"} 4194304\n",
        ] {
            assert!(found.contains(line), "{line}{found}");
        }
        fs::remove_dir_all(folder.path().join("2")).unwrap();
        put(1, 150);
        let found = processes.collect().unwrap().into_text();
        assert!(
            found.contains("mode=\"user\"} 3.5\n") && found.contains("num_procs{groupname=\"ff) mpeg\"} 1\n"),
            "{found}"
        );
    }
}
