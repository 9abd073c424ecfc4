//! Turns a request into bytes plus an outcome. [`pipeline`] is the page to read first.

use std::sync::Arc;

use millrace_kit::clock::Clock;

mod access;
mod ahead;
mod assembly;
pub mod coding;
mod conditional;
mod decimal;
mod derive;
mod dialect;
mod explain;
mod failure;
mod fallback;
mod fill;
mod forward;
mod handout;
mod handover;
mod hints;
mod inside;
mod instruments;
mod locations;
pub mod outcome;
pub mod pace;
mod pass;
mod pipeline;
pub mod policy;
mod purge;
mod query;
pub mod range;
mod reader;
pub mod request;
mod resolve;
mod respond;
pub mod response;
mod route;
mod routing;
pub mod sandbox;
mod shown_key;
mod sieve;
pub mod signature;
pub mod warm;
mod writes;

pub use access::Access;
pub use assembly::Config;
pub use decimal::{push as push_decimal, push_millis};
pub use derive::{Media, MediaConfig, SetupError};
pub use explain::Explanation;
pub use fill::Limits as FillLimits;
pub use handover::{CONTENT_TYPE as OBJECT, MAX_LISTED, NotGiven};
pub use inside::Nothing;
pub use instruments::Instruments;
pub use outcome::{Outcome, Reason, Served};
pub use pipeline::{Answer, Delivery};
pub use purge::{PurgeError, PurgeRequest, split as split_url};
pub use request::{Asked, BadTarget, Request, Target};
pub use response::{Body, BodyError, Fields, Response};
pub use route::Route;
pub use routing::{Config as RoutingConfig, Wanted as WantedOrigin};
pub use writes::{RequestBody, broken_request_body, slow_request_body};

pub use crate::{
    cache::{FieldLines, Loan, TierStats, control::no_cache_fields, date::format as http_date},
    origin::{
        CdnLoop, Error as RequestBodyError, ErrorKind as FaultKind, Interim, Interims,
        Report as OriginReport, remove_hop_by_hop,
    },
};

/// What both a client's request and a derived object need: a way to get at objects.
pub(crate) struct Core {
    fills: Arc<fill::Fills>,
    router: routing::Router,
    media: Media,
}

impl Core {
    fn clock(&self) -> &Clock {
        self.fills.clock()
    }
}
