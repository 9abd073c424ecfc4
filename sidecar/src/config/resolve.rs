//! From what was written to what is meant; every fault, not only the first.

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytesize::ByteSize;
use millrace_kit::config::Faults;

use super::{Raw, RuleSource, Scaling, Settings, receivers, rule_faults};
use crate::{
    collect::Collector,
    discovery::{Source, Target},
    http,
    model::{Labels, is_label_name},
    notify, scaling,
    scrape::{self, parse},
    series,
};

/// Less memory holds no useful history.
const LEAST_SERIES_BYTES: usize = 1 << 20;
/// Less holds no useful past.
const LEAST_JOURNAL_BYTES: usize = 1 << 20;

pub fn resolve(raw: &Raw) -> Result<Settings, Faults> {
    let mut faults = Faults::default();
    let listen = address(&raw.http.listen, &mut faults);
    let scrape = scrape_settings(&raw.scrape.targets, &mut faults);
    let series = series_bounds(&raw.series.bounds, &mut faults);
    let targets = targets(raw, &mut faults);
    let sources = sources(raw, &mut faults);
    let collectors = collectors(raw, &mut faults);
    let receivers = receivers::resolve(raw, &mut faults);
    let inhibitions = inhibitions(&raw.inhibitions, &mut faults);
    let interval =
        positive(raw.rules.evaluation_interval_secs, "rules.evaluation_interval_secs", &mut faults);
    let rules = RuleSource { patterns: raw.rules.files.clone(), interval };
    let groups = rules.load().unwrap_or_else(|found| {
        rule_faults(found, &mut faults);
        Vec::new()
    });
    let data_dir = data_dir(&raw.data_dir);
    let scaling = scaling(&raw.scaling, &data_dir, scrape.interval, &mut faults);
    for name in raw.external_labels.keys().filter(|name| !is_label_name(name)) {
        faults.push(format!("external_labels.{name}"), "is not a label name");
    }
    if let Err(error) = raw.log.parse_filter() {
        faults.push("log.filter", error.to_string());
    }
    let external_url = match raw.http.external_url.as_str() {
        "" => format!("http://{listen}"),
        text => {
            if !text.starts_with("http://") && !text.starts_with("https://") {
                faults.push("http.external_url", "must begin with http:// or https://");
            }
            text.trim_end_matches('/').to_owned()
        }
    };
    let hosts = hosts(&raw.http.hosts, &external_url, &mut faults);
    let labels = raw.external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    faults.into_result(Settings {
        data_dir,
        listen,
        external_url,
        hosts,
        token: raw.http.token.clone(),
        query: http::QueryBounds {
            timeout: Duration::from_secs(raw.http.query_timeout_secs.max(1)),
            max_samples: raw.http.max_query_samples,
            max_series: raw.http.max_query_series,
        },
        drain_timeout: Duration::from_secs(raw.http.drain_timeout_secs),
        scrape,
        scrape_itself: raw.scrape.itself,
        targets,
        sources,
        collectors,
        series,
        snapshot_interval: match raw.series.snapshot_interval_secs {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        },
        rules,
        groups,
        scaling,
        external_labels: Labels::from_pairs(labels),
        receivers,
        inhibitions,
        log: raw.log.clone(),
    })
}

/// With that of the address that others know.
fn hosts(listed: &[String], external_url: &str, faults: &mut Faults) -> Vec<String> {
    let plain = |host: &str| host.trim_end_matches('.').to_owned();
    let own = url::Url::parse(external_url).ok().and_then(|url| url.host_str().map(plain));
    let names = listed.iter().enumerate().filter_map(|(at, name)| match url::Host::parse(name) {
        Ok(host) => Some(plain(&host.to_string())),
        Err(_) => {
            faults.push(
                format!("http.hosts[{at}]"),
                format!("{name:?} is not a name of a host, without a port"),
            );
            None
        }
    });
    names.chain(own).collect()
}

fn address(text: &str, faults: &mut Faults) -> SocketAddr {
    text.parse().unwrap_or_else(|_| {
        faults.push("http.listen", format!("{text:?} is not an address and port, such as 127.0.0.1:8090"));
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

pub(super) fn positive(seconds: u64, key: &str, faults: &mut Faults) -> Duration {
    if seconds == 0 {
        faults.push(key, "must be at least 1");
    }
    Duration::from_secs(seconds.max(1))
}

fn size(text: &str, key: &str, faults: &mut Faults) -> usize {
    match text.parse::<ByteSize>() {
        Ok(size) => usize::try_from(size.as_u64()).unwrap_or(usize::MAX),
        Err(_) => {
            faults.push(key, format!("{text:?} is not a size, such as 512MiB"));
            0
        }
    }
}

fn scrape_settings(raw: &scrape::Config, faults: &mut Faults) -> scrape::Settings {
    let interval = positive(raw.interval_secs, "scrape.interval_secs", faults);
    let timeout = positive(raw.timeout_secs, "scrape.timeout_secs", faults);
    if timeout > interval {
        faults.push("scrape.timeout_secs", "must not be longer than interval_secs");
    }
    scrape::Settings {
        interval,
        timeout,
        max_body_bytes: size(&raw.max_body_bytes, "scrape.max_body_bytes", faults),
        max_samples: raw.max_samples,
        limits: parse::Limits::default(),
    }
}

fn series_bounds(raw: &series::Config, faults: &mut Faults) -> series::Bounds {
    if raw.retention_hours == 0 {
        faults.push("series.retention_hours", "must be at least 1");
    }
    let max_bytes = size(&raw.max_bytes, "series.max_bytes", faults);
    if max_bytes < LEAST_SERIES_BYTES {
        faults.push("series.max_bytes", "must be at least 1MiB");
    }
    series::Bounds::new(raw, max_bytes)
}

fn targets(raw: &Raw, faults: &mut Faults) -> Vec<Target> {
    let mut seen = HashSet::new();
    let mut targets = Vec::new();
    for (index, config) in raw.targets.iter().enumerate() {
        match Target::new(config) {
            Ok(target) if !seen.insert(target.url.clone()) => {
                faults.push(format!("targets[{index}]"), format!("{} is there twice", target.url));
            }
            Ok(target) => targets.push(target),
            Err(error) => faults.push(format!("targets[{index}]"), error.to_string()),
        }
    }
    targets
}

fn sources(raw: &Raw, faults: &mut Faults) -> Vec<Source> {
    let mut sources = Vec::new();
    for (index, config) in raw.discover.iter().enumerate() {
        let key = format!("discover[{index}]");
        let names = [&config.http, &config.docker.engine, &config.kubernetes.api];
        let lists = [&config.files, &config.dns, &config.dns_srv];
        if names.iter().all(|name| name.is_empty()) && lists.iter().all(|list| list.is_empty()) {
            faults.push(&key, "names no files, http, dns, dns_srv, docker or kubernetes");
        }
        if !config.http.is_empty() && url::Url::parse(&config.http).is_err() {
            faults.push(format!("{key}.http"), format!("{:?} is not a URL", config.http));
        }
        if !matches!(config.scheme.as_str(), "http" | "https") {
            faults.push(format!("{key}.scheme"), "must be http or https");
        }
        positive(config.refresh_secs, &format!("{key}.refresh_secs"), faults);
        match Source::new(config) {
            Ok(source) => sources.push(source),
            Err(error) => faults.push(key, error.to_string()),
        }
    }
    sources
}

fn collectors(raw: &Raw, faults: &mut Faults) -> Vec<(Arc<Collector>, Target)> {
    let mut seen = HashSet::new();
    let mut collectors = Vec::new();
    for (index, config) in raw.collect.iter().enumerate() {
        let key = format!("collect[{index}]");
        let collector = match Collector::new(config) {
            Ok(collector) => collector,
            Err(error) => {
                faults.push(key, error.to_string());
                continue;
            }
        };
        match Target::collected(&collector.url, &collector.job, &collector.instance, &config.labels) {
            Ok(_) if !seen.insert(collector.url.clone()) => {
                faults.push(key, format!("{} is there twice", collector.url));
            }
            Ok(target) => collectors.push((Arc::new(collector), target)),
            Err(error) => faults.push(key, error.to_string()),
        }
    }
    collectors
}

fn scaling(
    raw: &scaling::Config,
    data_dir: &Path,
    scrape_interval: Duration,
    faults: &mut Faults,
) -> Scaling {
    let journal_bytes = size(&raw.journal_bytes, "scaling.journal_bytes", faults);
    if journal_bytes < LEAST_JOURNAL_BYTES {
        faults.push("scaling.journal_bytes", "must be at least 1MiB");
    }
    let policies = match raw.file.as_str() {
        "" => scaling::Policies::default(),
        file => scaling::load(file, data_dir, scrape_interval).unwrap_or_else(|found| {
            faults.0.extend(found.0);
            scaling::Policies::default()
        }),
    };
    Scaling { file: raw.file.clone(), policies, scrape_interval, journal_bytes: journal_bytes as u64 }
}

fn inhibitions(raw: &[notify::InhibitionConfig], faults: &mut Faults) -> Vec<notify::Inhibition> {
    let mut inhibitions = Vec::new();
    for (index, config) in raw.iter().enumerate() {
        match notify::Inhibition::new(config) {
            Ok(inhibition) => inhibitions.push(inhibition),
            Err(error) => faults.push(format!("inhibitions[{index}]"), error.to_string()),
        }
    }
    inhibitions
}

fn data_dir(text: &str) -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match text {
        "" => var("XDG_STATE_HOME")
            .or_else(|| var("HOME").map(|home| home.join(".local/state")))
            .unwrap_or_else(std::env::temp_dir)
            .join("millrace-sidecar"),
        text => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use millrace_kit::config::{self, Layer};

    use super::*;
    use crate::config::quick_start;

    fn faults(text: &str) -> Vec<String> {
        let raw: Raw = config::load(&[Layer::file("s.toml", text)]).unwrap();
        resolve(&raw).unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_and_quick_start_are_good() {
        let settings = resolve(&config::load(&[]).unwrap()).unwrap();
        assert_eq!(settings.scrape.interval, Duration::from_secs(15));
        assert_eq!(settings.targets[0].url.as_str(), "http://127.0.0.1:8081/metrics");
        assert!(settings.groups.iter().any(|group| group.rules.iter().any(|rule| rule.name == "TargetDown")));
        let quick = resolve(&config::load(&[quick_start()]).unwrap()).unwrap();
        assert_eq!(quick.scrape.interval, Duration::from_secs(5));
    }

    /// The file is the reference: it must say what the defaults are.
    #[test]
    fn the_shipped_file_states_the_defaults() {
        let text = include_str!("../../../config/sidecar.toml");
        let from_file: Raw = config::load(&[Layer::file("sidecar.toml", text)]).unwrap();
        let mut defaults = Raw::default();
        defaults.targets[0].url = "http://127.0.0.1:8081".to_owned();
        assert_eq!(serde_json::to_value(&from_file).unwrap(), serde_json::to_value(&defaults).unwrap());
        assert!(resolve(&from_file).is_ok());
    }

    #[test]
    fn every_fault_is_named() {
        let text = "
[http]
listen = 'nowhere'
external_url = 'ftp://x'
hosts = ['ops.example', 'ops.example:80']
[scrape]
interval_secs = 5
timeout_secs = 9
max_body_bytes = 'much'
[[targets]]
url = 'http://a:1'
[[targets]]
url = 'http://a:1/metrics'
[[targets]]
url = 'file:///etc/passwd'
[series]
max_bytes = '1KiB'
[rules]
files = ['nothing/here.yml']
[[webhooks]]
name = '../x'
url = 'mailto:ops@example.org'
[log]
filter = 'a=b=c'
[external_labels]
'0' = 'x'
";
        let found = faults(text).join("\n");
        for part in [
            "http.listen: \"nowhere\"",
            "scrape.timeout_secs: must not be longer",
            "scrape.max_body_bytes: \"much\"",
            "series.max_bytes: must be at least",
            "targets[1]: http://a:1/metrics is there twice",
            "targets[2]: \"file:///etc/passwd\"",
            "webhooks[0].name: must consist",
            "webhooks[0].url: must be",
            "nothing/here.yml: ",
            "external_labels.0: is not",
            "log.filter: ",
            "http.external_url: must begin",
            "http.hosts[1]: \"ops.example:80\" is not",
        ] {
            assert!(found.contains(part), "{part}\n{found}");
        }
        assert_eq!(found.lines().count(), 13, "{found}");
    }
}
