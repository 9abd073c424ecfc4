//! Settings: what a user writes ([`raw`]) and what the parts are built from ([`Settings`]). All faults are reported
//! at once, before a port is bound.

pub mod raw;
mod resolve;

pub use raw::Raw;
pub use resolve::{OriginSettings, Settings, resolve};
