//! From the file to the policy; every fault, not only the first.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    time::Duration,
};

use bytesize::ByteSize;
use millrace_kit::config::Faults;
use url::Url;

use super::{
    Act, DownConfig, File, GroupConfig, Policies, Policy, Rate, RateConfig, RateKind, Rule, Side, Signal,
    SignalConfig, Target, TargetConfig, UpConfig,
};
use crate::{promql::Query, scaling::signals};

mod origin;

const MAX_GROUPS: usize = 32;
/// Signals, rules, targets, rates of a group, each.
const MAX_ENTRIES: usize = 64;
const MAX_INSTANCES: u32 = 10_000;
const MAX_SECS: u64 = 7 * 86_400;
const NAME_BYTES: usize = 40;

pub(super) fn resolve(raw: &File, data_dir: &Path, scrape_interval: Duration) -> Result<Policies, Faults> {
    let mut faults = Faults::default();
    let prometheus = (!raw.prometheus.is_empty()).then(|| raw.prometheus.trim_end_matches('/').to_owned());
    if let Some(url) = &prometheus
        && !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    {
        faults.push("prometheus", format!("{url:?} is not an http or https URL"));
    }
    if raw.groups.len() > MAX_GROUPS {
        faults.push("groups", format!("are more than {MAX_GROUPS}"));
    }
    let mut names = HashSet::new();
    let (mut groups, mut fleets) = (Vec::new(), BTreeMap::new());
    for (index, config) in raw.groups.iter().take(MAX_GROUPS).enumerate() {
        if !names.insert(config.name.as_str()) {
            faults.push(format!("groups[{index}].name"), format!("{:?} is there twice", config.name));
        }
        let key = format!("groups[{index}]");
        if config.mode == Act::Act {
            let most = if config.max_cold == 0 { config.max.max(1) } else { config.max_cold };
            let group = (config.name.as_str(), most);
            let fleet = config.fleet.resolve(group, data_dir, &format!("{key}.fleet"), &mut faults);
            fleets.insert(config.name.clone(), fleet);
        }
        groups.push(Resolver { key, config, faults: &mut faults }.group(scrape_interval));
    }
    faults.into_result(Policies { prometheus, groups, fleets })
}

struct Resolver<'a> {
    key: String,
    config: &'a GroupConfig,
    faults: &'a mut Faults,
}

impl Resolver<'_> {
    fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(format!("{}.{key}", self.key), message);
    }

    fn group(&mut self, scrape_interval: Duration) -> Policy {
        let config = self.config;
        self.name();
        self.bounds();
        let scrape_ms = i64::try_from(scrape_interval.as_millis()).unwrap_or(i64::MAX / 4);
        let interval_ms = self.millis("interval_secs", config.interval_secs);
        if interval_ms == 0 {
            self.fault("interval_secs", "must be at least 1");
        }
        if !(config.panic_ratio == 0.0 || config.panic_ratio > 1.0) || !config.panic_ratio.is_finite() {
            self.fault("panic_ratio", "must be above 1, or 0");
        }
        if let Err(error) = Query::parse(&config.instances) {
            self.fault("instances", error.to_string());
        }
        let signals = self.signals();
        let up = self.up();
        let down = self.down();
        let targets = self.targets();
        if up.is_empty() && down.is_empty() && targets.is_empty() {
            self.fault("up", "there are neither rules nor targets");
        }
        self.no_swing(&up, &down);
        Policy {
            name: config.name.clone(),
            act: config.mode,
            instances: config.instances.clone(),
            min: config.min,
            max: config.max,
            interval_ms: interval_ms.max(1000),
            max_age_ms: match self.millis("max_age_secs", config.max_age_secs) {
                0 => scrape_ms.saturating_mul(3),
                given => given,
            },
            max_age_follows: config.max_age_secs == 0,
            min_coverage: self.share("min_coverage", config.min_coverage),
            startup_hold_ms: self.millis("startup_hold_secs", config.startup_hold_secs),
            up_cooldown_ms: self.millis("up_cooldown_secs", config.up_cooldown_secs),
            down_cooldown_ms: self.millis("down_cooldown_secs", config.down_cooldown_secs),
            stabilization_ms: self.millis("stabilization_secs", config.stabilization_secs),
            up_rates: self.rates("up_rates", &config.up_rates),
            up_select: config.up_rate_select,
            down_rates: self.rates("down_rates", &config.down_rates),
            down_select: config.down_rate_select,
            panic_ratio: config.panic_ratio,
            panic_ms: self.millis("panic_secs", config.panic_secs),
            max_cold: config.max_cold,
            signals,
            up,
            down,
            targets,
            origin: self.origin(&config.origin),
            slo: self.slo(),
            join_ms: self.millis("join_secs", config.join_secs),
        }
    }

    fn name(&mut self) {
        let name = &self.config.name;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(plain) {
            let message =
                format!("{name:?} is not made of at most {NAME_BYTES} lower-case letters, digits, - and _");
            self.fault("name", message);
        }
    }

    fn bounds(&mut self) {
        let config = self.config;
        if config.min == 0 && !config.allow_zero {
            self.fault("min", "is 0, which wants `allow_zero = true`");
        }
        if config.max == 0 || config.max > MAX_INSTANCES {
            self.fault("max", format!("must be from 1 to {MAX_INSTANCES}"));
        }
        if config.min > config.max {
            self.fault("min", format!("must not be more than max, {}", config.max));
        }
    }

    fn millis(&mut self, key: &str, seconds: u64) -> i64 {
        if seconds > MAX_SECS {
            self.fault(key, format!("must be at most {MAX_SECS}, a week"));
        }
        i64::try_from(seconds.min(MAX_SECS)).unwrap_or(0) * 1000
    }

    fn share(&mut self, key: &str, share: f64) -> f64 {
        if !(0.0..=1.0).contains(&share) || share == 0.0 {
            self.fault(key, "must be above 0 and at most 1");
        }
        share
    }

    fn few(&mut self, key: &str, count: usize) {
        if count > MAX_ENTRIES {
            self.fault(key, format!("are more than {MAX_ENTRIES}"));
        }
    }

    fn signals(&mut self) -> Vec<Signal> {
        let config = self.config;
        self.few("signals", config.signals.len());
        if !(config.instance_cores > 0.0 && config.instance_cores.is_finite()) {
            self.fault("instance_cores", "must be above 0");
        }
        let memory = config.instance_memory.parse::<ByteSize>().map_or(0, |size| size.as_u64());
        if memory == 0 {
            self.fault(
                "instance_memory",
                format!("{:?} is not a size, such as 1GiB", config.instance_memory),
            );
        }
        let filled = |text: &str| {
            text.replace("$cores", &config.instance_cores.to_string())
                .replace("$memory", &memory.max(1).to_string())
        };
        let mut seen = HashSet::new();
        let mut signals = Vec::new();
        for (index, raw) in config.signals.iter().enumerate() {
            let SignalConfig { name, expr, reports, unit, per_instance, elsewhere } = raw;
            let key = format!("signals[{index}]");
            if name.is_empty() || !seen.insert(name.as_str()) {
                self.fault(&format!("{key}.name"), format!("{name:?} is empty, or there twice"));
            }
            let (expr, reports) = (filled(expr), filled(reports));
            for (field, text) in [("expr", &expr), ("reports", &reports)] {
                if field == "reports" && text.is_empty() {
                    continue;
                }
                match Query::parse(&signals::with_ready(text, &["a:1".to_owned()])) {
                    Ok(query) if field == "expr" && reports.is_empty() && query.selectors().is_empty() => {
                        self.fault(&format!("{key}.expr"), "names no metric; say in `reports` who reports");
                    }
                    Ok(_) => {}
                    Err(error) => self.fault(&format!("{key}.{field}"), error.to_string()),
                }
            }
            let (name, unit) = (name.clone(), unit.clone());
            let (per_instance, elsewhere) = (*per_instance, *elsewhere);
            signals.push(Signal { name, expr, reports, unit, per_instance, elsewhere });
        }
        signals
    }

    fn known(&mut self, key: &str, signal: &str) {
        if self.config.signals.iter().any(|known| known.name == signal) {
            return;
        }
        let names: Vec<_> = self.config.signals.iter().map(|known| known.name.as_str()).collect();
        self.fault(key, format!("{signal:?} is not a signal; there are {}", names.join(", ")));
    }

    fn side(&mut self, key: &str, above: Option<f64>, below: Option<f64>) -> (Side, f64) {
        let (side, threshold) = match (above, below) {
            (Some(above), None) => (Side::Above, above),
            (None, Some(below)) => (Side::Below, below),
            _ => {
                self.fault(key, "wants either `above` or `below`");
                (Side::Above, 0.0)
            }
        };
        if !threshold.is_finite() {
            self.fault(key, "the threshold is not a number");
        }
        (side, threshold)
    }

    fn up(&mut self) -> Vec<Rule> {
        let config = self.config;
        self.few("up", config.up.len());
        let mut rules = Vec::new();
        for (index, raw) in config.up.iter().enumerate() {
            let UpConfig { signal, above, below, for_secs, step, explained_by_origin } = raw;
            let key = format!("up[{index}]");
            self.known(&format!("{key}.signal"), signal);
            if *step == 0 || *step > MAX_INSTANCES {
                self.fault(&format!("{key}.step"), format!("must be from 1 to {MAX_INSTANCES}"));
            }
            let (side, threshold) = self.side(&key, *above, *below);
            if side == Side::Below && *step > 1 {
                self.fault(
                    &format!("{key}.step"),
                    "must be 1 with `below`: it may be that more instances do not help",
                );
            }
            rules.push(Rule {
                name: rule_name(signal, side, threshold),
                signal: signal.clone(),
                side,
                threshold,
                for_ms: self.millis(&format!("{key}.for_secs"), *for_secs),
                step: *step,
                explained_by_origin: *explained_by_origin,
            });
        }
        self.distinct("up", &rules);
        rules
    }

    fn down(&mut self) -> Vec<Rule> {
        let config = self.config;
        self.few("down", config.down.len());
        let mut rules = Vec::new();
        for (index, raw) in config.down.iter().enumerate() {
            let DownConfig { signal, above, below, for_secs } = raw;
            let key = format!("down[{index}]");
            self.known(&format!("{key}.signal"), signal);
            let (side, threshold) = self.side(&key, *above, *below);
            rules.push(Rule {
                name: rule_name(signal, side, threshold),
                signal: signal.clone(),
                side,
                threshold,
                for_ms: self.millis(&format!("{key}.for_secs"), *for_secs),
                step: 1,
                explained_by_origin: false,
            });
        }
        self.distinct("down", &rules);
        rules
    }

    fn distinct(&mut self, key: &str, rules: &[Rule]) {
        let mut seen = HashSet::new();
        for (index, rule) in rules.iter().enumerate() {
            if !seen.insert(&rule.name) {
                self.fault(&format!("{key}[{index}]"), format!("{} is there twice", rule.name));
            }
        }
    }

    fn targets(&mut self) -> Vec<Target> {
        let config = self.config;
        self.few("targets", config.targets.len());
        let mut targets = Vec::new();
        for (index, raw) in config.targets.iter().enumerate() {
            let TargetConfig { signal, target, tolerance, total, full, explained_by_origin } = raw;
            let key = format!("targets[{index}]");
            self.known(&format!("{key}.signal"), signal);
            if !(*target > 0.0 && target.is_finite()) {
                self.fault(&format!("{key}.target"), "must be above 0");
            }
            if !(0.0..1.0).contains(tolerance) {
                self.fault(&format!("{key}.tolerance"), "must be from 0 to below 1");
            }
            if *full != 0.0 && !(*full >= *target && full.is_finite()) {
                self.fault(&format!("{key}.full"), "must be 0, or at least the target");
            }
            targets.push(Target {
                signal: signal.clone(),
                target: *target,
                tolerance: *tolerance,
                total: *total,
                full: if *full == 0.0 { *target } else { *full },
                explained_by_origin: *explained_by_origin,
            });
        }
        targets
    }

    fn rates(&mut self, key: &str, raw: &[RateConfig]) -> Vec<Rate> {
        self.few(key, raw.len());
        let mut rates = Vec::new();
        for (index, rate) in raw.iter().enumerate() {
            let (kind, amount) = match (rate.instances, rate.percent) {
                (instances, 0) if instances > 0 => (RateKind::Instances, instances),
                (0, percent) if percent > 0 => (RateKind::Percent, percent),
                _ => {
                    self.fault(&format!("{key}[{index}]"), "wants either `instances` or `percent`, above 0");
                    continue;
                }
            };
            let period_ms = self.millis(&format!("{key}[{index}].period_secs"), rate.period_secs);
            if period_ms == 0 {
                self.fault(&format!("{key}[{index}].period_secs"), "must be at least 1");
            }
            rates.push(Rate { kind, amount, period_ms });
        }
        rates
    }

    /// What lets one instance go must not call for it again.
    fn no_swing(&mut self, up: &[Rule], down: &[Rule]) {
        for (index, low) in down.iter().enumerate().filter(|(_, rule)| rule.side == Side::Below) {
            let high = up.iter().filter(|rule| rule.signal == low.signal && rule.side == Side::Above);
            if let Some(high) = high.into_iter().find(|high| high.threshold <= low.threshold) {
                let message =
                    format!("is not below {}, at which {} asks for more", high.threshold, high.name);
                self.fault(&format!("down[{index}].below"), message);
            }
        }
    }
}

fn rule_name(signal: &str, side: Side, threshold: f64) -> String {
    let sign = match side {
        Side::Above => '>',
        Side::Below => '<',
    };
    format!("{signal} {sign} {threshold}")
}
