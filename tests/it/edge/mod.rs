//! The edge server as its clients, its origins and its operators see it: in process, over real sockets, in front of a
//! programmable origin.

mod access;
mod admin;
mod client;
mod server;

mod bounds;
mod compression;
mod conditions;
mod disk;
mod drain;
mod explain;
mod failing_disk;
mod fallbacks;
mod fields;
mod fills;
mod freshness;
mod image_guard;
mod image_hints;
mod image_work;
mod images;
mod interim;
mod keys;
mod killed;
mod methods;
mod model;
mod origins;
mod outages;
mod parent;
mod purge;
mod purge_model;
mod races;
mod ranges;
mod restart;
mod resume;
mod routes;
mod s3;
mod stale;
mod targets;
mod unshared;
mod vary;
mod videos;
mod wire;

use client::{Broken, Open, Reply};
pub(crate) use server::Edge;
use server::{BLOCK, eventually, http_origin};
