//! Millrace: CDN edge cache and media delivery server.

pub mod cache;
pub mod media;
pub mod origin;
