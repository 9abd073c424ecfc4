//! Postgres: connections by state, and what its databases do, under the names of postgres_exporter.

use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};
use url::Url;

use super::{Error, Exposition, exposition::Type};

pub(super) const PORT: u16 = 5432;

/// Rows of one answer; databases beyond it are left out.
const MAX_ROWS: usize = 1_000;

pub(super) struct Postgres(tokio_postgres::Config);

/// Without the password.
impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Postgres").field(&self.0.get_hosts()).finish()
    }
}

const ACTIVITY: &str = "SELECT coalesce(datname, ''), coalesce(state, ''), count(*), \
     coalesce(max(extract(epoch FROM now() - xact_start)), 0) \
     FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1, 2 ORDER BY 1, 2";

const LIMIT: &str =
    "SELECT setting, current_setting('server_version') FROM pg_settings WHERE name = 'max_connections'";

const DATABASES: &str = "SELECT d.datname, \
     CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END, s.numbackends, \
     s.xact_commit, s.xact_rollback, s.blks_read, s.blks_hit, s.deadlocks, s.temp_bytes, s.conflicts \
     FROM pg_database d JOIN pg_stat_database s ON s.datid = d.oid WHERE NOT d.datistemplate ORDER BY 1";

/// Of `DATABASES`, from the second column.
const COLUMNS: &[(&str, Type, &str)] = &[
    ("pg_database_size_bytes", Type::Gauge, "Bytes a database takes on disk."),
    ("pg_stat_database_numbackends", Type::Gauge, "Backends connected to a database."),
    ("pg_stat_database_xact_commit", Type::Counter, "Transactions committed."),
    ("pg_stat_database_xact_rollback", Type::Counter, "Transactions rolled back."),
    ("pg_stat_database_blks_read", Type::Counter, "Blocks read from disk."),
    ("pg_stat_database_blks_hit", Type::Counter, "Blocks found in memory."),
    ("pg_stat_database_deadlocks", Type::Counter, "Deadlocks."),
    ("pg_stat_database_temp_bytes", Type::Counter, "Bytes written to temporary files."),
    ("pg_stat_database_conflicts", Type::Counter, "Queries cancelled because of recovery."),
];

impl Postgres {
    pub(super) fn new(url: &Url, password: Option<String>) -> Result<Self, Error> {
        let parsed: Result<tokio_postgres::Config, _> = url.as_str().parse();
        let mut config = parsed.map_err(|reason| Error::Url(reason.to_string()))?;
        config.application_name("millrace-sidecar");
        if let Some(password) = password {
            config.password(password);
        }
        Ok(Self(config))
    }

    pub(super) async fn collect(&self) -> Result<Exposition, Error> {
        let (client, connection) = self.0.connect(NoTls).await.map_err(|reason| failed(&reason))?;
        tokio::select! {
            asked = ask(&client) => asked,
            ended = connection => Err(match ended {
                Ok(()) => Error::Connection("the connection was closed".to_owned()),
                Err(reason) => failed(&reason),
            }),
        }
    }
}

async fn ask(client: &Client) -> Result<Exposition, Error> {
    let mut found = Exposition::default();
    found.gauge("pg_up", "1: Postgres answers.", 1.0);
    let limits = rows(client, LIMIT).await?;
    if let Some(row) = limits.first() {
        found.gauge(
            "pg_settings_max_connections",
            "Connections allowed.",
            number(row, 0).unwrap_or(f64::NAN),
        );
        let version = row.get(1).unwrap_or_default();
        found
            .family("pg_static", Type::Gauge, "Constant 1, with the version.")
            .sample(&[("short_version", version)], 1.0);
    }
    let activity = rows(client, ACTIVITY).await?;
    for (column, name, help) in [
        (2, "pg_stat_activity_count", "Client connections by what they do."),
        (3, "pg_stat_activity_max_tx_duration", "Age of the longest transaction, in seconds."),
    ] {
        let mut family = found.family(name, Type::Gauge, help);
        for row in &activity {
            let labels =
                [("datname", row.get(0).unwrap_or_default()), ("state", row.get(1).unwrap_or_default())];
            if let Some(value) = number(row, column) {
                family.sample(&labels, value);
            }
        }
    }
    let databases = rows(client, DATABASES).await?;
    for (column, (name, kind, help)) in COLUMNS.iter().enumerate() {
        let mut family = found.family(name, *kind, help);
        for row in &databases {
            if let Some(value) = number(row, column + 1) {
                family.sample(&[("datname", row.get(0).unwrap_or_default())], value);
            }
        }
    }
    Ok(found)
}

async fn rows(client: &Client, query: &str) -> Result<Vec<SimpleQueryRow>, Error> {
    let messages = client.simple_query(query).await.map_err(|reason| failed(&reason))?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows.take(MAX_ROWS).collect())
}

fn number(row: &SimpleQueryRow, column: usize) -> Option<f64> {
    row.get(column)?.parse().ok()
}

fn failed(reason: &tokio_postgres::Error) -> Error {
    match reason.as_db_error() {
        Some(said) => Error::Answer(said.message().to_owned()),
        None => Error::Connection(
            std::error::Error::source(reason).map_or_else(|| reason.to_string(), ToString::to_string),
        ),
    }
}
