//! The edge server as its clients, its origins and its operators see it: in process, over real sockets, in front of a
//! programmable origin.

mod access;
mod admin;
pub(crate) mod client;
mod server;

mod bounds;
mod compression;
mod conditions;
mod cors;
mod disk;
mod drain;
mod explain;
mod failing_disk;
mod failover;
mod fallbacks;
mod fields;
mod fills;
mod freshness;
mod image_guard;
mod image_hints;
mod image_work;
pub(crate) mod images;
mod interim;
mod jobs;
mod keys;
mod killed;
mod ladder;
mod limits;
mod methods;
mod model;
mod origins;
mod outages;
mod parent;
mod proxies;
mod purge;
mod purge_model;
mod races;
mod ranges;
mod restart;
mod resume;
mod routes;
mod s3;
mod secure;
mod stale;
mod stills;
mod targets;
mod unshared;
mod vary;
mod videos;
mod warm;
mod wire;

use client::{Broken, Open, Reply};
use server::BLOCK;
pub(crate) use server::Edge;
pub(crate) use server::{eventually, http_origin};
