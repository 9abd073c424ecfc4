//! Where the process is in its life, as probes and connections see it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

/// Shared by both ports.
#[derive(Debug)]
pub struct Lifecycle {
    phase: AtomicU8,
    /// Somebody has asked on the admin port that clients go elsewhere; work goes on.
    sent_away: AtomicBool,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Starting,
            1 => Self::Ready,
            _ => Self::Draining,
        }
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self { phase: AtomicU8::new(Phase::Starting as u8), sent_away: AtomicBool::new(false) }
    }
}

impl Lifecycle {
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// `Draining` also when it was asked for and can be taken back.
    pub fn phase(&self) -> Phase {
        match Phase::from_u8(self.phase.load(Ordering::Acquire)) {
            Phase::Ready if self.sends_away() => Phase::Draining,
            phase => phase,
        }
    }

    pub fn send_away(&self, away: bool) {
        self.sent_away.store(away, Ordering::Release);
    }

    /// Whether clients are told to make new connections, which a balancer brings elsewhere.
    pub fn sends_away(&self) -> bool {
        self.sent_away.load(Ordering::Acquire)
    }
}
