//! What stands in when no origin can answer and nothing stored may.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::super::request::Target;

/// What a route serves in the last resort.
#[derive(Debug, Clone)]
pub struct Fallback {
    pub content: Content,
    pub status: StatusCode,
    pub cache_control: HeaderValue,
}

#[derive(Debug, Clone)]
pub enum Content {
    /// Read at start.
    File { bytes: Bytes, content_type: HeaderValue },
    /// Something that is to be had here, from store if need be.
    Path(Target),
}
