//! What a policy says of the origins behind the group, and of what clients shall get.

use super::{
    super::{Origin, OriginConfig, Slo},
    GroupConfig, Resolver,
};

impl Resolver<'_> {
    /// Signals that are not there are not looked at, so that a policy with signals of its own need not say so; a
    /// budget without its signals would hold nothing.
    pub(super) fn origin(&mut self, raw: &OriginConfig) -> Origin {
        for (key, bound) in
            [("latency_above", raw.latency_above), ("errors_above", raw.errors_above), ("budget", raw.budget)]
        {
            if !(bound >= 0.0 && bound.is_finite()) {
                self.fault(&format!("origin.{key}"), "must be at least 0");
            }
        }
        let defaults = OriginConfig::default();
        let budget = raw.budget > 0.0;
        let mut name = |key: &str, given: &str, default: &str, wanted: bool| {
            let there = self.config.signals.iter().any(|known| known.name == given);
            if !there && (wanted || (!given.is_empty() && given != default)) {
                self.known(&format!("origin.{key}"), given);
            }
            if there { given.to_owned() } else { String::new() }
        };
        Origin {
            latency_signal: name("latency_signal", &raw.latency_signal, &defaults.latency_signal, false),
            latency_above: raw.latency_above,
            errors_signal: name("errors_signal", &raw.errors_signal, &defaults.errors_signal, false),
            errors_above: raw.errors_above,
            load_signal: name("load_signal", &raw.load_signal, &defaults.load_signal, budget),
            hits_signal: name("hits_signal", &raw.hits_signal, &defaults.hits_signal, budget),
            budget: raw.budget,
        }
    }

    pub(super) fn slo(&mut self) -> Vec<Slo> {
        let config = self.config;
        self.few("slo", config.slo.len());
        // The default objective is about a default signal.
        let standard = config.slo == GroupConfig::default().slo;
        let mut slo = Vec::new();
        for (index, raw) in config.slo.iter().enumerate() {
            let there = config.signals.iter().any(|known| known.name == raw.signal);
            if !there && !standard {
                self.known(&format!("slo[{index}].signal"), &raw.signal);
            }
            if there {
                slo.push(Slo { signal: raw.signal.clone(), above: raw.above });
            }
        }
        slo
    }
}
