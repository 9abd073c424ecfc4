//! Every metric that Millrace exports, in one place. Dashboards and alerts are tested against this list.

/// What is measured, in base units, without URL labels.
#[derive(Debug)]
pub struct Def {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub labels: &'static [&'static str],
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Counter,
    Gauge,
    /// Upper bounds of the buckets.
    Histogram(&'static [f64]),
}

/// From a memory hit (tens of microseconds) to a slow transcode.
const REQUEST_SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];
const MEDIA_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// From a poster to a film.
const JOB_SECONDS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0];

macro_rules! catalogue {
    ($($(#[$doc:meta])* $id:ident = $name:literal $kind:expr, [$($label:literal),*], $help:literal;)*) => {
        $($(#[$doc])* pub static $id: Def =
            Def { name: $name, kind: $kind, help: $help, labels: &[$($label),*] };)*
        /// In the order of definition.
        pub static ALL: &[&Def] = &[$(&$id),*];
    };
}

catalogue! {
    BUILD_INFO = "millrace_build_info" Kind::Gauge, ["version", "component"],
        "Constant 1, labelled with the version and the component.";

    // HTTP, after the OpenTelemetry semantic conventions.
    HTTP_SERVER_DURATION = "http_server_request_duration_seconds" Kind::Histogram(REQUEST_SECONDS),
        ["http_request_method", "http_route", "http_response_status_code"],
        "Time from the request head to the end of the response.";
    RESPONSE_HEAD = "millrace_response_head_seconds" Kind::Histogram(REQUEST_SECONDS), ["http_route"],
        "Time from the request head to the head of the response: what clients wait for, however fast they then read. \
         Requests whose body was read are left out.";
    HTTP_SERVER_ACTIVE = "http_server_active_requests" Kind::Gauge, [],
        "Requests that are being answered.";
    HTTP_CLIENT_DURATION = "http_client_request_duration_seconds" Kind::Histogram(REQUEST_SECONDS),
        ["origin", "http_request_method", "http_response_status_code"],
        "Time from asking an origin to the head of its answer.";

    TLS_CERTIFICATE_EXPIRY = "millrace_tls_certificate_expiry_timestamp_seconds" Kind::Gauge, ["name"],
        "When the certificate in use for a name ends, Unix time.";

    RATE_LIMITED = "millrace_rate_limited_total" Kind::Counter, ["route"],
        "Requests answered 429 because their client asked more than its route allows.";
    CONNECTIONS_REFUSED = "millrace_connections_refused_total" Kind::Counter, ["reason"],
        "Connections closed before their first request: too-many of one client, a bad proxy-header, or no agreement on tls.";

    // Cache.
    CACHE_REQUESTS = "millrace_cache_requests_total" Kind::Counter, ["route", "outcome", "reason"],
        "Requests by what the cache made of them, and why.";
    CACHE_RESPONSE_BYTES = "millrace_cache_response_bytes_total" Kind::Counter, ["route", "outcome"],
        "Body bytes sent to clients.";
    CACHE_TIER_REQUESTS = "millrace_cache_tier_requests_total" Kind::Counter, ["tier", "result"],
        "Lookups of heads and blocks by tier. Corrupt: found damaged, and not used.";
    CACHE_TIER_BYTES = "millrace_cache_tier_bytes" Kind::Gauge, ["tier"],
        "Bytes held by a tier.";
    CACHE_TIER_CAPACITY = "millrace_cache_tier_capacity_bytes" Kind::Gauge, ["tier"],
        "Bytes a tier may hold.";
    MEMORY_LENT = "millrace_memory_lent_bytes" Kind::Gauge, [],
        "What connections, requests and fills take beside the memory tier, which has so much less when it is more than an eighth.";
    CACHE_DISK_STATE = "millrace_cache_disk_state" Kind::Gauge, ["state"],
        "1 for what the disk tier is: on; behind, so that new entries stay in memory; or off, because it failed.";
    CACHE_DISK_ADMISSIONS = "millrace_cache_disk_admissions_total" Kind::Counter, ["result"],
        "Objects by whether they were written to the disk tier, or why not.";
    CACHE_DISK_BYTES = "millrace_cache_disk_bytes_total" Kind::Counter, ["operation"],
        "Bytes read from, written to and evicted from the disk tier.";
    CACHE_EVICTIONS = "millrace_cache_evictions_total" Kind::Counter, ["tier"],
        "Entries evicted from memory to make room; on disk whole regions go, see millrace_cache_disk_bytes_total.";
    FILLS_IN_FLIGHT = "millrace_fills_in_flight" Kind::Gauge, [],
        "Transfers from origins into the cache under way.";
    COLLAPSED_REQUESTS = "millrace_collapsed_requests_total" Kind::Counter, [],
        "Requests that joined a fill that another request had started.";

    WARM_RATIO = "millrace_warm_ratio" Kind::Gauge, [],
        "Share of what peers had to offer that a warm-up is done with; 1 when there is nothing to warm.";

    PURGE_SEQUENCE = "millrace_purge_sequence" Kind::Gauge, [],
        "Sequence number of the latest purge in force.";
    PURGE_APPLY = "millrace_purge_apply_seconds" Kind::Histogram(REQUEST_SECONDS), [],
        "Time from a purge's arrival to its receipt.";

    // Origins.
    ORIGIN_REQUESTS = "millrace_origin_requests_total" Kind::Counter, ["origin", "result"],
        "Requests sent to an origin by result.";
    ORIGIN_RESPONSE_BYTES = "millrace_origin_response_bytes_total" Kind::Counter, [],
        "Body bytes received from origins.";
    ORIGIN_RESUMES = "millrace_origin_resumes_total" Kind::Counter, [],
        "Broken transfers that were resumed where they stopped.";
    ORIGIN_BROKEN_BODIES = "millrace_origin_broken_bodies_total" Kind::Counter, ["origin", "reason"],
        "Answers of an origin whose body broke, by how.";
    ORIGIN_RETRIES = "millrace_origin_retries_total" Kind::Counter, ["origin", "kind"],
        "Requests to an origin that repeat an earlier one: retries, hedges, and resumes of bodies of which little had come.";
    ORIGIN_RETRIES_REFUSED = "millrace_origin_retries_refused_total" Kind::Counter, ["origin", "kind"],
        "Repetitions not sent because the budget was used up or the origin asked for a pause.";
    ORIGIN_TURNED_AWAY = "millrace_origin_turned_away_total" Kind::Counter, ["origin"],
        "Requests not sent to an origin because its breaker was not closed.";
    ORIGIN_BREAKER_STATE = "millrace_origin_breaker_state" Kind::Gauge, ["origin"],
        "Breaker of an origin, or of origin@route where a route has its own: 0 closed, 1 half-open, 2 open.";

    // Configuration.
    CONFIG_RELOAD_SUCCESSFUL = "millrace_config_last_reload_successful" Kind::Gauge, [],
        "Whether the configuration was good when it was read last.";
    CONFIG_RELOAD_TIME = "millrace_config_last_reload_success_timestamp_seconds" Kind::Gauge, [],
        "When the configuration in force was read, as a Unix time.";

    // Media.
    QUEUE_DEPTH = "millrace_queue_depth" Kind::Gauge, ["queue"],
        "Jobs waiting for a permit; in queue origin:NAME, requests waiting for others to that origin to end.";
    MEDIA_DURATION = "millrace_media_duration_seconds" Kind::Histogram(MEDIA_SECONDS), ["operation"],
        "Run time of image and video operations.";
    MEDIA_ENCODES = "millrace_media_encodes_total" Kind::Counter, ["encoder", "result"],
        "Video segments encoded, by encoder and by how it ended: ok, failed, or left when nobody waited any more.";
    MEDIA_ERRORS = "millrace_media_errors_total" Kind::Counter, ["operation", "reason"],
        "Image and video operations that failed.";
    MEDIA_STEP = "millrace_media_step_duration_seconds" Kind::Histogram(MEDIA_SECONDS), ["operation", "step"],
        "Time that each step of making an image took, from fetching its source to encoding.";
    MEDIA_CANCELLED = "millrace_media_cancelled_total" Kind::Counter, ["stage"],
        "Media jobs given up because nobody waited for them any more, by how far they had come.";
    MEDIA_IMPROVEMENTS = "millrace_media_improvements_total" Kind::Counter, ["result"],
        "Images and video segments that were asked for often, by what became of encoding them again with more effort.";

    // Jobs.
    JOB_WAIT = "millrace_job_wait_seconds" Kind::Histogram(JOB_SECONDS), ["preset"],
        "Time from when a job might begin to when it began.";
    JOB_RUN = "millrace_job_run_seconds" Kind::Histogram(JOB_SECONDS), ["preset"],
        "Time of one attempt at a job, however it ended.";
    JOBS = "millrace_jobs_total" Kind::Counter, ["preset", "result"],
        "Attempts at jobs, by how they ended: succeeded, failed for good, retried, dead after the last attempt, cancelled, released.";
    JOBS_RUNNING = "millrace_jobs_running" Kind::Gauge, [],
        "Jobs that are being done.";
    JOBS_REFUSED = "millrace_jobs_refused_total" Kind::Counter, ["reason"],
        "Jobs that were not taken because the queue was full, or the share of their owner.";

    // Uploads and access.
    UPLOAD_BYTES = "millrace_upload_bytes_total" Kind::Counter, [],
        "Body bytes of uploads received.";
    UPLOADS = "millrace_uploads_total" Kind::Counter, ["kind", "result"],
        "Requests to store or remove an asset, by how they ended.";
    UPLOADS_ACTIVE = "millrace_uploads_active" Kind::Gauge, [],
        "Uploads whose bytes are being received.";
    DB_POOL_CONNECTIONS = "millrace_db_pool_connections" Kind::Gauge, ["state"],
        "Connections to the catalogue's database: used, or idle.";
    DB_POOL_WAIT = "millrace_db_pool_wait_seconds" Kind::Histogram(REQUEST_SECONDS), [],
        "Time until a connection to the catalogue's database was free.";

    // Scaling.
    SCALING_INSTANCES = "millrace_scaling_instances" Kind::Gauge, ["pool", "state"],
        "Instances of a pool: desired, as decided; and by what they are: starting, warming, ready, draining, stopping, failed.";
    SCALING_DESIRED = "millrace_scaling_desired" Kind::Gauge, ["pool"],
        "Instances that a pool shall have, as decided.";
    SCALING_DECISIONS = "millrace_scaling_decisions_total" Kind::Counter, ["pool", "action", "binding"],
        "Decisions by what was done, and by what kept it from being what signals asked for.";
    SCALING_LAST_CHANGE = "millrace_scaling_last_change_timestamp_seconds" Kind::Gauge, ["pool"],
        "When the number of desired instances last changed, Unix time; 0: not yet.";
    SCALING_SIGNAL = "millrace_scaling_signal" Kind::Gauge, ["pool", "signal"],
        "Value of a signal that decisions are made by; not there while unknown.";
    SCALING_SIGNAL_COVERAGE = "millrace_scaling_signal_coverage_ratio" Kind::Gauge, ["pool", "signal"],
        "Share of ready instances that a signal comes from.";

    // Sidecar.
    SIDECAR_HTTP_DURATION = "millrace_sidecar_http_request_duration_seconds" Kind::Histogram(REQUEST_SECONDS),
        ["http_request_method", "http_route", "http_response_status_code"],
        "Time the sidecar took to answer a request.";
    SIDECAR_SCRAPES = "millrace_sidecar_scrapes_total" Kind::Counter, ["target_job", "result"],
        "Scrapes by result.";
    SIDECAR_SCRAPE_DURATION = "millrace_sidecar_scrape_duration_seconds" Kind::Histogram(REQUEST_SECONDS),
        ["target_job"],
        "Time from asking a target for its metrics to the end of its answer.";
    SIDECAR_SAMPLES = "millrace_sidecar_samples_total" Kind::Counter, ["result"],
        "Scraped samples by what became of them.";
    SIDECAR_SERIES = "millrace_sidecar_series" Kind::Gauge, [],
        "Series held.";
    SIDECAR_HELD_SAMPLES = "millrace_sidecar_held_samples" Kind::Gauge, [],
        "Samples held.";
    SIDECAR_HELD_BYTES = "millrace_sidecar_held_bytes" Kind::Gauge, [],
        "Bytes of compressed samples and labels held.";
    SIDECAR_REFUSED_SERIES = "millrace_sidecar_refused_series_total" Kind::Counter, [],
        "Series refused because as many as allowed are held.";
    SIDECAR_RULE_EVALUATIONS = "millrace_sidecar_rule_evaluations_total" Kind::Counter, ["group", "result"],
        "Rule evaluations by result.";
    SIDECAR_GROUP_DURATION = "millrace_sidecar_rule_group_duration_seconds" Kind::Histogram(REQUEST_SECONDS),
        ["group"],
        "Time to evaluate all rules of a group.";
    SIDECAR_GROUP_MISSED = "millrace_sidecar_rule_group_missed_total" Kind::Counter, ["group"],
        "Evaluations left out because the one before took too long.";
    SIDECAR_ALERTS = "millrace_sidecar_alerts" Kind::Gauge, ["state"],
        "Alerts by state.";
    SIDECAR_NOTIFICATIONS = "millrace_sidecar_notifications_total" Kind::Counter, ["receiver", "result"],
        "Attempts to notify a receiver by result.";
    SIDECAR_NOTIFICATIONS_PENDING = "millrace_sidecar_notifications_pending" Kind::Gauge, ["receiver"],
        "Alerts that a receiver has not been told of yet.";
}
