//! Turns the client library's errors into ours: which kind, and a detail for logs without the URL.

use std::{error::Error as StdError, io, sync::Arc};

use super::super::{Error, ErrorKind};

/// A failure before the answer's head was in.
pub(super) fn of_head(origin: &Arc<str>, error: reqwest::Error) -> Error {
    // The stream that the caller gave as request body broke: pass on what it said.
    if let Some(own) = find::<Error>(&error) {
        return own.clone();
    }
    let kind = if error.is_builder() {
        ErrorKind::Forbidden
    } else if error.is_connect() {
        ErrorKind::Connect
    } else if error.is_timeout() {
        ErrorKind::FirstByteTimeout
    } else if find::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
        ErrorKind::BadResponse
    } else {
        ErrorKind::BrokenBody
    };
    Error::new(origin, kind, with_causes(&error.without_url()))
}

/// A failure in the middle of the answer's body.
pub(super) fn of_body(origin: &Arc<str>, error: reqwest::Error) -> Error {
    let incomplete = find::<hyper::Error>(&error).is_some_and(hyper::Error::is_incomplete_message);
    let kind = match find::<io::Error>(&error).map(io::Error::kind) {
        Some(io::ErrorKind::UnexpectedEof) => ErrorKind::ShortBody,
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => ErrorKind::BadFraming,
        None if incomplete => ErrorKind::ShortBody,
        _ => ErrorKind::BrokenBody,
    };
    Error::new(origin, kind, with_causes(&error.without_url()))
}

/// The error and what caused it, in one line. Libraries leave the telling part to the last cause.
pub(super) fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        current = error.source();
    }
    None
}
