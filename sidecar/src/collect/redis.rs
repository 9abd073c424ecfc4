//! Redis' `INFO`, under the names of redis_exporter.

use std::collections::BTreeMap;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use url::Url;

use super::{Error, Exposition, exposition::Type};

pub(super) const PORT: u16 = 6379;

/// Of one answer.
const MAX_BYTES: usize = 1 << 20;
const MAX_LINE_BYTES: u64 = 4096;

#[derive(Debug)]
pub(super) struct Redis {
    host: String,
    port: u16,
    /// User (if named) and password.
    sign_on: Option<(Option<String>, Password)>,
}

struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// Field of `INFO`, metric, help.
const COUNTERS: &[(&str, &str, &str)] = &[
    ("total_connections_received", "redis_connections_received_total", "Connections accepted."),
    (
        "rejected_connections",
        "redis_rejected_connections_total",
        "Connections refused because of maxclients.",
    ),
    ("total_commands_processed", "redis_commands_processed_total", "Commands processed."),
    ("total_net_input_bytes", "redis_net_input_bytes_total", "Bytes received."),
    ("total_net_output_bytes", "redis_net_output_bytes_total", "Bytes sent."),
    ("expired_keys", "redis_expired_keys_total", "Keys that expired."),
    ("evicted_keys", "redis_evicted_keys_total", "Keys evicted because of maxmemory."),
    ("keyspace_hits", "redis_keyspace_hits_total", "Lookups of keys that were there."),
    ("keyspace_misses", "redis_keyspace_misses_total", "Lookups of keys that were not there."),
    ("used_cpu_sys", "redis_cpu_sys_seconds_total", "CPU time in the kernel."),
    ("used_cpu_user", "redis_cpu_user_seconds_total", "CPU time of the server itself."),
];

const GAUGES: &[(&str, &str, &str)] = &[
    ("uptime_in_seconds", "redis_uptime_in_seconds", "Time since the start."),
    ("connected_clients", "redis_connected_clients", "Client connections."),
    ("blocked_clients", "redis_blocked_clients", "Clients that wait in a blocking call."),
    ("maxclients", "redis_config_maxclients", "Client connections allowed."),
    ("used_memory", "redis_memory_used_bytes", "Memory allocated."),
    ("used_memory_rss", "redis_memory_used_rss_bytes", "Memory as the system sees it."),
    ("maxmemory", "redis_memory_max_bytes", "Memory allowed; 0: no limit."),
    ("mem_fragmentation_ratio", "redis_mem_fragmentation_ratio", "Resident to allocated memory."),
    ("instantaneous_ops_per_sec", "redis_instantaneous_ops_per_sec", "Commands per second of late."),
    ("connected_slaves", "redis_connected_slaves", "Replicas connected."),
    ("rdb_changes_since_last_save", "redis_rdb_changes_since_last_save", "Changes not in the last dump."),
    ("loading", "redis_loading_dump_file", "1 while a dump is being loaded."),
];

/// Fields that say `ok` or `up`.
const FLAGS: &[(&str, &str, &str)] = &[
    ("rdb_last_bgsave_status", "redis_rdb_last_bgsave_status", "1 when the last dump went well."),
    ("aof_last_write_status", "redis_aof_last_write_status", "1 when the last write to the log went well."),
    ("master_link_status", "redis_master_link_up", "1 while the primary is connected."),
];

impl Redis {
    pub(super) fn new(url: &Url, password: Option<String>) -> Self {
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(str::to_owned);
        Self {
            host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(PORT),
            sign_on: password.map(|password| (user, Password(password))),
        }
    }

    pub(super) async fn collect(&self) -> Result<Exposition, Error> {
        let connection = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let mut connection = BufReader::new(connection);
        if let Some((user, password)) = &self.sign_on {
            let words = match user {
                Some(user) => vec!["AUTH", user, &password.0],
                None => vec!["AUTH", &password.0],
            };
            ask(&mut connection, &words).await?;
        }
        let info = ask(&mut connection, &["INFO"]).await?;
        Ok(read(&info))
    }
}

async fn ask(connection: &mut BufReader<TcpStream>, words: &[&str]) -> Result<String, Error> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    connection.get_mut().write_all(request.as_bytes()).await?;
    let mut head = String::new();
    connection.take(MAX_LINE_BYTES).read_line(&mut head).await?;
    let head = head.trim_end();
    match head.split_at_checked(1) {
        Some(("+", text)) => Ok(text.to_owned()),
        Some(("-", text)) => Err(Error::Answer(text.to_owned())),
        Some(("$", length)) => {
            let length = length.parse().ok().filter(|length| *length <= MAX_BYTES);
            let length = length.ok_or_else(|| Error::Answer("too long".to_owned()))?;
            let mut body = vec![0; length + 2];
            connection.read_exact(&mut body).await?;
            body.truncate(length);
            Ok(String::from_utf8_lossy(&body).into_owned())
        }
        _ => Err(Error::Answer("not what Redis says".to_owned())),
    }
}

fn read(info: &str) -> Exposition {
    let fields: BTreeMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let number = |name: &str| fields.get(name).and_then(|value| value.parse::<f64>().ok());
    let text = |name: &str| fields.get(name).copied().unwrap_or_default();
    let mut found = Exposition::default();
    found.gauge("redis_up", "1: Redis answers.", 1.0);
    found.family("redis_instance_info", Type::Gauge, "Constant 1, with what the instance is.").sample(
        &[
            ("redis_version", text("redis_version")),
            ("redis_mode", text("redis_mode")),
            ("role", text("role")),
        ],
        1.0,
    );
    for (field, name, help) in COUNTERS {
        if let Some(value) = number(field) {
            found.counter(name, help, value);
        }
    }
    for (field, name, help) in GAUGES {
        if let Some(value) = number(field) {
            found.gauge(name, help, value);
        }
    }
    for (field, name, help) in FLAGS {
        if let Some(value) = fields.get(field) {
            found.gauge(name, help, f64::from(u8::from(matches!(*value, "ok" | "up"))));
        }
    }
    for (part, name, help) in [
        ("keys", "redis_db_keys", "Keys of a database."),
        ("expires", "redis_db_keys_expiring", "Keys of a database that will expire."),
    ] {
        let mut family = found.family(name, Type::Gauge, help);
        for (field, value) in &fields {
            let is_database = field
                .strip_prefix("db")
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
            let count = value.split(',').find_map(|pair| pair.strip_prefix(part)?.strip_prefix('='));
            if let (true, Some(Ok(count))) = (is_database, count.map(str::parse)) {
                family.sample(&[("db", field)], count);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\nused_memory:1024\r\nkeyspace_hits:7\r\nrdb_last_bgsave_status:err\r\ndb0:keys=3,expires=1,avg_ttl=0\r\ndbx:keys=9\r\n";
        let found = read(info).into_text();
        for line in [
            "redis_instance_info{redis_version=\"7.0.15\",redis_mode=\"standalone\",role=\"master\"} 1\n",
            "redis_memory_used_bytes 1024\n",
            "redis_keyspace_hits_total 7\n",
            "redis_rdb_last_bgsave_status 0\n",
            "redis_db_keys{db=\"db0\"} 3\n",
            "redis_db_keys_expiring{db=\"db0\"} 1\n",
        ] {
            assert!(found.contains(line), "{line}{found}");
        }
        assert!(!found.contains("dbx") && !found.contains("redis_evicted"), "{found}");
    }
}
