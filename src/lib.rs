//! Millrace: CDN edge cache and media delivery server.

pub mod cache;
pub mod delivery;
pub mod media;
pub mod origin;
