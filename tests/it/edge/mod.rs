//! The edge server as its clients, its origins and its operators see it: in process, over real sockets, in front of a
//! programmable origin.

mod access;
mod admin;
mod client;
mod server;

mod bounds;
mod conditions;
mod drain;
mod explain;
mod fallbacks;
mod fields;
mod fills;
mod freshness;
mod images;
mod keys;
mod killed;
mod methods;
mod model;
mod origins;
mod purge;
mod purge_model;
mod races;
mod ranges;
mod restart;
mod resume;
mod routes;
mod stale;
mod targets;
mod unshared;
mod vary;
mod videos;
mod wire;

use client::{Broken, Open, Reply};
use server::{BLOCK, Edge, eventually, http_origin};
