//! Scaling of the instances that the sidecar watches.

pub mod fleet;
