//! What goes into a decision and what comes out of it, as it stands in the journal and in answers.

use std::collections::BTreeMap;

use millrace_kit::clock::UnixMillis;
use serde::{Deserialize, Serialize};

use super::stamp;

/// All that a decision depends on, besides the policy and [`State`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// Instances that were aimed at before.
    pub aim: u32,
    pub counts: Counts,
    pub reachable: bool,
    pub converging: bool,
    pub readings: Vec<Reading>,
    #[serde(rename = "override")]
    pub manual: Option<Override>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub ready: u32,
    /// Starting or warming: they bear no load yet, and take from the origin.
    pub cold: u32,
    pub leaving: u32,
    pub failed: u32,
}

/// A signal at one time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub name: String,
    /// None when there is no number.
    pub value: Option<f64>,
    /// Of the newest sample.
    pub age_ms: Option<i64>,
    /// Ready instances that report.
    pub reporting: u32,
    /// Their share.
    pub coverage: f64,
    /// What went wrong, if anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A decision made by hand, for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    pub desired: Option<u32>,
    /// Nothing changes, whatever signals say.
    pub pause: bool,
    pub by: String,
    pub reason: String,
    #[serde(with = "stamp")]
    pub until: UnixMillis,
}

/// What is remembered from one decision to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    #[serde(with = "stamp")]
    pub started_at: UnixMillis,
    /// What was aimed at after the last decision; None before the first.
    pub aim: Option<u32>,
    /// Since when rules hold, by direction and name.
    pub up_since: BTreeMap<String, Since>,
    pub down_since: BTreeMap<String, Since>,
    /// What was wanted, within the stabilisation window.
    pub wanted: Vec<(UnixMillis, u32)>,
    /// Changes of the aim, within the longest period of the rates.
    pub changes: Vec<(UnixMillis, i32)>,
    pub last_up: Option<UnixMillis>,
    pub last_down: Option<UnixMillis>,
    pub panic_until: Option<UnixMillis>,
    /// Up-rules with `below` that have had their step, by name.
    pub trials: BTreeMap<String, Trial>,
}

/// A rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    pub first: UnixMillis,
    /// When it was last seen to hold: a gap in the data does not end it at once.
    pub last: UnixMillis,
}

/// One more instance was to raise a signal: the value before, and whether it helped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub at: UnixMillis,
    pub before: f64,
    pub failed: bool,
    /// Since when the signal has been where it should be.
    pub recovered_since: Option<UnixMillis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Up,
    Down,
    Hold,
}

/// What kept a decision from being what signals asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    None,
    Max,
    Min,
    CooldownUp,
    CooldownDown,
    Stabilization,
    Rate,
    Panic,
    Unknown,
    Override,
    Paused,
    Startup,
    Converging,
    Unreachable,
    ColdLimit,
    OriginBudget,
    OriginFault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Up,
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    True,
    False,
    /// Holds, but not for long enough.
    Pending,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleVerdict {
    pub name: String,
    pub direction: Direction,
    pub expr: String,
    pub verdict: Verdict,
    pub value: Option<f64>,
    pub threshold: f64,
    pub for_seconds: i64,
    #[serde(with = "stamp::optional")]
    pub true_since: Option<UnixMillis>,
    /// Why it does not count although it holds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetVerdict {
    pub signal: String,
    pub value: Option<f64>,
    pub target: f64,
    pub ratio: Option<f64>,
    pub wants: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    #[serde(with = "stamp")]
    pub at: UnixMillis,
    pub group: String,
    pub action: Action,
    pub from: u32,
    pub to: u32,
    pub binding: Binding,
    pub reason: String,
    pub counterfactual: String,
    pub rules: Vec<RuleVerdict>,
    pub targets: Vec<TargetVerdict>,
    pub ready: u32,
    pub warming: u32,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Hold => "hold",
        }
    }
}

impl Binding {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Max => "max",
            Self::Min => "min",
            Self::CooldownUp => "cooldown_up",
            Self::CooldownDown => "cooldown_down",
            Self::Stabilization => "stabilization",
            Self::Rate => "rate",
            Self::Panic => "panic",
            Self::Unknown => "unknown",
            Self::Override => "override",
            Self::Paused => "paused",
            Self::Startup => "startup",
            Self::Converging => "converging",
            Self::Unreachable => "unreachable",
            Self::ColdLimit => "cold_limit",
            Self::OriginBudget => "origin_budget",
            Self::OriginFault => "origin_fault",
        }
    }
}

impl State {
    /// Of a group that was never decided about: whatever it aims at counts as wanted, so that nothing is taken away
    /// before a whole stabilisation window has been seen.
    pub fn new(now: UnixMillis, aim: u32) -> Self {
        Self { started_at: now, aim: Some(aim), wanted: vec![(now, aim)], ..Self::default() }
    }
}
