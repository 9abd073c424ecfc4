//! The machine: CPU, load, memory, disks, network, file systems, as node_exporter names them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Error, Exposition, exposition::Type};

mod disks;
mod filesystems;

/// Of the times in `/proc`: the kernel promises 100 to programs on every platform we run on.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

#[derive(Debug, Clone)]
pub(super) struct Host {
    proc: PathBuf,
}

/// Of the machine.
pub(super) fn name(proc: &Path) -> String {
    let name = fs::read_to_string(proc.join("sys/kernel/hostname")).unwrap_or_default();
    let name = name.trim();
    let plain = |char: char| char.is_ascii_alphanumeric() || "-._".contains(char);
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { "localhost".to_owned() }
}

impl Host {
    pub(super) fn new(proc: PathBuf) -> Self {
        Self { proc }
    }

    /// A file system that hangs holds up a thread of its own, not those that answer requests.
    pub(super) async fn collect(&self) -> Result<Exposition, Error> {
        let host = self.clone();
        let read = tokio::task::spawn_blocking(move || host.read());
        read.await.map_err(|reason| Error::Connection(reason.to_string()))?
    }

    fn read(&self) -> Result<Exposition, Error> {
        let mut found = Exposition::default();
        self.cpu(&mut found)?;
        self.memory(&mut found)?;
        self.load(&mut found)?;
        disks::read(&self.text("diskstats")?, &mut found);
        self.network(&mut found)?;
        filesystems::read(&self.text("self/mounts")?, &mut found);
        self.files(&mut found);
        Ok(found)
    }

    fn text(&self, name: &str) -> Result<String, Error> {
        fs::read_to_string(self.proc.join(name))
            .map_err(|reason| Error::Connection(format!("{}: {reason}", self.proc.join(name).display())))
    }

    fn cpu(&self, found: &mut Exposition) -> Result<(), Error> {
        let stat = self.text("stat")?;
        let mut family =
            found.family("node_cpu_seconds_total", Type::Counter, "Seconds the CPUs spent in each mode.");
        for line in stat.lines() {
            let mut words = line.split_whitespace();
            let Some(cpu) = words.next().and_then(|word| word.strip_prefix("cpu")) else { continue };
            if cpu.is_empty() {
                continue;
            }
            for (mode, ticks) in MODES.into_iter().zip(words) {
                let ticks: f64 = ticks.parse().unwrap_or(0.0);
                family.sample(&[("cpu", cpu), ("mode", mode)], ticks / TICKS_PER_SECOND);
            }
        }
        for (field, name, help, kind) in [
            ("btime", "node_boot_time_seconds", "When the machine started, Unix time.", Type::Gauge),
            ("ctxt", "node_context_switches_total", "Context switches.", Type::Counter),
            ("procs_running", "node_procs_running", "Processes that want to run.", Type::Gauge),
            ("procs_blocked", "node_procs_blocked", "Processes that wait for a disk.", Type::Gauge),
        ] {
            let line = stat.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(' '));
            if let Some(value) = line.and_then(|value| value.trim().parse().ok()) {
                found.family(name, kind, help).sample(&[], value);
            }
        }
        Ok(())
    }

    /// `MemAvailable: 1 kB` becomes `node_memory_MemAvailable_bytes`.
    fn memory(&self, found: &mut Exposition) -> Result<(), Error> {
        for line in self.text("meminfo")?.lines() {
            let Some((field, value)) = line.split_once(':') else { continue };
            let mut words = value.split_whitespace();
            let Some(value) = words.next().and_then(|value| value.parse::<f64>().ok()) else { continue };
            let field = field.replace('(', "_").replace(')', "");
            let (name, value) = match words.next() {
                Some("kB") => (format!("node_memory_{field}_bytes"), value * 1024.0),
                _ => (format!("node_memory_{field}"), value),
            };
            found.gauge(&name, &format!("{field} of /proc/meminfo."), value);
        }
        Ok(())
    }

    fn load(&self, found: &mut Exposition) -> Result<(), Error> {
        let text = self.text("loadavg")?;
        for (name, value) in ["node_load1", "node_load5", "node_load15"].into_iter().zip(text.split(' ')) {
            if let Ok(value) = value.parse() {
                found.gauge(name, "Load average.", value);
            }
        }
        Ok(())
    }

    fn network(&self, found: &mut Exposition) -> Result<(), Error> {
        let text = self.text("net/dev")?;
        let devices: Vec<(&str, Vec<f64>)> = text
            .lines()
            .filter_map(|line| {
                let (device, values) = line.split_once(':')?;
                let values = values.split_whitespace().map(|value| value.parse().unwrap_or(0.0));
                Some((device.trim(), values.collect()))
            })
            .collect();
        for (column, name, help) in [
            (0, "node_network_receive_bytes_total", "Bytes received."),
            (1, "node_network_receive_packets_total", "Packets received."),
            (2, "node_network_receive_errs_total", "Packets received with errors."),
            (3, "node_network_receive_drop_total", "Packets received and dropped."),
            (8, "node_network_transmit_bytes_total", "Bytes sent."),
            (9, "node_network_transmit_packets_total", "Packets sent."),
            (10, "node_network_transmit_errs_total", "Packets not sent because of errors."),
            (11, "node_network_transmit_drop_total", "Packets to be sent and dropped."),
        ] {
            let mut family = found.family(name, Type::Counter, help);
            for (device, values) in &devices {
                if let Some(value) = values.get(column) {
                    family.sample(&[("device", device)], *value);
                }
            }
        }
        Ok(())
    }

    /// Not there in every container.
    fn files(&self, found: &mut Exposition) {
        let Ok(text) = self.text("sys/fs/file-nr") else { return };
        let mut values = text.split_whitespace().map(str::parse::<f64>);
        if let (Some(Ok(open)), Some(Ok(most))) = (values.next(), values.nth(1)) {
            found.gauge("node_filefd_allocated", "File descriptors in use.", open);
            found.gauge("node_filefd_maximum", "File descriptors allowed.", most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_is_described() {
        let text = Host::new(PathBuf::from("/proc")).collect().await.unwrap().into_text();
        for name in [
            "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"}",
            "node_memory_MemAvailable_bytes ",
            "node_load1 ",
            "node_network_receive_bytes_total{device=",
            "node_filesystem_avail_bytes{device=",
            "node_boot_time_seconds ",
        ] {
            assert!(text.contains(&format!("\n{name}")), "{name}\n{text}");
        }
    }

    #[test]
    fn numbers_are_in_base_units() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir_all(folder.path().join("net")).unwrap();
        fs::create_dir_all(folder.path().join("self")).unwrap();
        put("stat", "cpu  1 2 3 4\ncpu0 100 0 250 4000 5 0 0 0 0 0\nctxt 77\nbtime 1700000000\n");
        put("meminfo", "MemTotal:  16 kB\nActive(anon): 2 kB\nHugePages_Total: 3\n");
        put("loadavg", "0.52 0.58 0.59 3/467 12\n");
        put("diskstats", "   8       0 sda 10 0 2048 500 20 0 4096 1500 1 700 2000\n");
        put("net/dev", "head\nhead |x\n  eth0: 1500 3 1 2 0 0 0 0 900 4 0 0 0 0 0 0\n");
        put("self/mounts", "");
        let text = Host::new(folder.path().to_owned()).read().unwrap().into_text();
        for line in [
            "node_cpu_seconds_total{cpu=\"0\",mode=\"system\"} 2.5\n",
            "node_memory_MemTotal_bytes 16384\n",
            "node_memory_Active_anon_bytes 2048\n",
            "node_memory_HugePages_Total 3\n",
            "node_load5 0.58\n",
            "node_disk_read_bytes_total{device=\"sda\"} 1048576\n",
            "node_disk_io_time_seconds_total{device=\"sda\"} 0.7\n",
            "node_network_transmit_bytes_total{device=\"eth0\"} 900\n",
            "node_context_switches_total 77\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
