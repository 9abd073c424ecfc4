//! Millrace: CDN edge cache and media delivery server. `docs/ARCHITECTURE.md` shows how the modules fit together.

pub mod acme;
pub mod admission;
pub mod app;
pub mod cache;
pub mod config;
pub mod delivery;
pub mod http;
pub mod jobs;
pub mod media;
pub mod origin;
pub mod store;
pub mod upload;
