//! Turns the client library's errors into ours: which kind, and a detail for logs.

use std::{error::Error as StdError, io, sync::Arc};

use hyper_util::client::legacy;

use super::{
    super::{Error, ErrorKind},
    guard::NotPublic,
    names::Unresolved,
};

/// A failure before the answer's head was in.
pub(super) fn of_head(origin: &Arc<str>, error: &legacy::Error) -> Error {
    // The stream that the caller gave as request body broke: pass on what it said.
    if let Some(own) = find::<Error>(error) {
        return own.clone();
    }
    let http = find::<hyper::Error>(error);
    let kind = if find::<NotPublic>(error).is_some() {
        ErrorKind::PrivateAddress
    } else if find::<Unresolved>(error).is_some() {
        ErrorKind::Dns
    } else if find::<rustls::Error>(error).is_some() {
        ErrorKind::Tls
    } else if error.is_connect() {
        ErrorKind::Connect
    } else if http.is_some_and(hyper::Error::is_parse) {
        ErrorKind::BadResponse
    } else if http.is_some_and(hyper::Error::is_user) {
        ErrorKind::Forbidden
    } else {
        ErrorKind::BrokenBody
    };
    Error::new(origin, kind, with_causes(error))
}

/// A failure in the middle of the answer's body.
pub(super) fn of_body(origin: &Arc<str>, error: &hyper::Error) -> Error {
    let kind = match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::UnexpectedEof) => ErrorKind::ShortBody,
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => ErrorKind::BadFraming,
        None if error.is_incomplete_message() => ErrorKind::ShortBody,
        _ => ErrorKind::BrokenBody,
    };
    Error::new(origin, kind, with_causes(error))
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
        // What an I/O error carries is not its source, but carried along.
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        current = carried.map(|carried| carried as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}
