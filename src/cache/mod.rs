//! Sparse objects across memory and disk, and the rules of RFC 9111 that say when they may be used.
//!
//! An object is a [`Head`] and fixed-size blocks, any of which may be absent. The rules ([`control`],
//! [`freshness`], [`storable`], [`vary`], [`validator`]) are pure functions over (request, head, now).

pub mod control;
pub mod date;
mod entry;
mod fields;
pub mod freshness;
pub mod handover;
mod head;
mod key;
mod lifetimes;
pub mod purge;
pub mod storable;
mod store;
pub mod targeted;
pub mod validator;
pub mod vary;

pub use entry::{Incarnation, OnDisk, Variants};
pub use fields::{FieldLines, Fields};
pub use freshness::Freshness;
pub use head::{Content, Head};
pub use key::{Key, KeySeed};
pub use lifetimes::Lifetimes;
pub use store::{
    Adoption, Blocks, Config, DiskConfig, Error, Found, Held, Hot, Kept, Lender, Loan, Offer, Pin, Store,
    TierStats, Tiers, disk_usage,
};
