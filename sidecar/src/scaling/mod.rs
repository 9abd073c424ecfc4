//! How many instances a group shall have, from what metrics say. `decide` is one pure function; `signals` asks metrics
//! for its inputs, `control` calls it in its rhythm and tells the fleet, `journal` writes down each call, and `replay` calls
//! it again for times that are past.

use futures_util::{FutureExt, future::BoxFuture};
use millrace_kit::clock::UnixMillis;

mod control;
mod decide;
mod decision;
pub mod fleet;
mod journal;
mod observed;
mod policy;
pub mod replay;
mod signals;
mod stamp;

pub use control::{Controller, Error, Event, Group, GroupView, MAX_OVERRIDE, Mode};
pub use decide::decide;
pub use decision::{
    Action, Binding, Counts, Decision, Direction, Inputs, Override, Reading, RuleVerdict, State,
    TargetVerdict, Verdict,
};
pub use fleet::{Conductor, FleetView, InstanceState, InstanceView, Unknown};
pub use journal::{Bounds, Entry, Journal};
pub use observed::Observed;
pub use policy::{Act, Config, GroupConfig, Policies, Policy, Rule, check_file, load};
pub use signals::{Evaluated, Source};

/// What starts and stops the instances of one group.
pub trait Fleet: Send + Sync {
    /// Cheap, never blocks.
    fn view(&self) -> FleetView;
    /// So many instances shall there be. Remembered before anything is done about it.
    fn aim(&self, desired: u32);
    /// By hand: that instance leaves, and the aim goes down by one.
    fn drain(&self, name: &str) -> Result<(), Unknown>;
    /// One round of bringing about what is aimed at, in bounded time.
    fn step(&self, now: UnixMillis) -> BoxFuture<'_, ()>;
}

impl Fleet for Conductor {
    fn view(&self) -> FleetView {
        self.view()
    }

    fn aim(&self, desired: u32) {
        self.aim(desired);
    }

    fn drain(&self, name: &str) -> Result<(), Unknown> {
        self.drain(name)
    }

    fn step(&self, now: UnixMillis) -> BoxFuture<'_, ()> {
        self.step(now).boxed()
    }
}
