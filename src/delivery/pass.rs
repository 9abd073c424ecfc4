//! Answers that are not stored, on their way to one client: conditions, and the part that was asked for.

use futures_util::{StreamExt, stream};
use http::{HeaderValue, Method, StatusCode, header};

use super::{
    conditional::{self, Verdict},
    fill::{self, Extent},
    outcome::Served,
    range::{self, Spec},
    request::Request,
    resolve::Query,
    respond::{precondition_failed, unsatisfiable},
    response::{Body, BodyError, Fields, Response, begun},
};
use crate::{cache::validator, origin};

/// What one client gets of an answer to `query`. Fails when it is no answer to it.
pub async fn pass(
    request: &Request,
    query: &Query,
    response: origin::Response,
    served: Served,
) -> Result<Response, origin::Error> {
    let (status, mut headers) = (response.status, response.headers.clone());
    if status.is_success() {
        match conditional::evaluate(&request.method, &*request.headers, &headers, || None) {
            Verdict::NotModified => {
                return Ok(Response::new(
                    StatusCode::NOT_MODIFIED,
                    Fields::Own(headers),
                    Body::Empty,
                    served,
                ));
            }
            Verdict::Failed => return Ok(precondition_failed(served)),
            // The origin has been told of `If-Range` and has judged it.
            Verdict::Proceed { .. } => {}
        }
    }
    if request.method == Method::HEAD {
        let length = match query.upstream.is_selective() {
            true => fill::declared_length(&headers),
            false => response.content_length,
        };
        let mut answer = Response::new(status, Fields::Own(headers), Body::Empty, served);
        answer.head_length = length;
        return Ok(answer);
    }
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        return Ok(Response::new(status, Fields::Own(headers), Body::Empty, served));
    }
    let (length, bytes) = match Excerpt::of(query.range, &response) {
        Excerpt::All => (response.content_length, response.body),
        Excerpt::Part { skip, take, content_range } => {
            headers.insert(header::CONTENT_RANGE, content_range);
            for name in validator::OF_ALL_BYTES {
                headers.remove(name);
            }
            (Some(take), cut(response.body, skip, take))
        }
        Excerpt::Nothing { length } => return Ok(unsatisfiable(length, served)),
        Excerpt::Unasked => {
            let detail = "a 206 that is no answer to the request";
            return Err(origin::Error::new(&response.origin, origin::ErrorKind::BadResponse, detail));
        }
    };
    let bytes = begun(bytes).await?.map(|item| item.map_err(BodyError::from)).boxed();
    Ok(Response::new(status, Fields::Own(headers), Body::Stream { length, bytes }, served))
}

/// What a client gets of an answer that is not stored. The origin may have been asked for whole blocks.
enum Excerpt {
    All,
    Part {
        skip: u64,
        take: u64,
        content_range: HeaderValue,
    },
    /// The object ends before what the client asked for.
    Nothing {
        length: u64,
    },
    Unasked,
}

impl Excerpt {
    fn of(asked: Option<Spec>, response: &origin::Response) -> Self {
        if response.status != StatusCode::PARTIAL_CONTENT {
            return Self::All;
        }
        let Some(asked) = asked else { return Self::Unasked };
        let (range, length) = match Extent::of(response) {
            Extent::Part { range, length } => (range, length),
            // The origin does not know how long the whole is: the client has to make do with what the part says.
            _ if open_ended(response) => return Self::All,
            _ => return Self::Unasked,
        };
        let range::Resolution::Parts(parts) = range::resolve(&[asked], length) else {
            return Self::Nothing { length };
        };
        match parts.first() {
            Some(part) if *part == range => Self::All,
            Some(part) if range.contains(&part.start) => {
                let end = part.end.min(range.end);
                let content_range = format!("bytes {}-{}/{length}", part.start, end - 1);
                // Digits, a slash and a minus are always a valid value.
                content_range.try_into().map_or(Self::Unasked, |content_range| Self::Part {
                    skip: part.start - range.start,
                    take: end - part.start,
                    content_range,
                })
            }
            // Where the end is, only the origin knows; the client sees from `Content-Range` what it got (RFC 9110 §15.3.7).
            _ if matches!(asked, Spec::Suffix(_)) => Self::All,
            _ => Self::Unasked,
        }
    }
}

/// Whether the part is one of a whole of unknown length.
fn open_ended(response: &origin::Response) -> bool {
    let range = response.headers.get(header::CONTENT_RANGE);
    range.is_some_and(|range| range.as_bytes().starts_with(b"bytes ") && range.as_bytes().ends_with(b"/*"))
}

fn cut(body: origin::Body, skip: u64, take: u64) -> origin::Body {
    let cut = stream::unfold((body, skip, take), |(mut body, mut skip, take)| async move {
        if take == 0 {
            return None;
        }
        loop {
            let mut bytes = match body.next().await? {
                Ok(bytes) => bytes,
                Err(error) => return Some((Err(error), (body, skip, 0))),
            };
            let skipped = skip.min(bytes.len() as u64);
            skip -= skipped;
            bytes = bytes.slice(skipped as usize..);
            bytes.truncate(usize::try_from(take).unwrap_or(usize::MAX));
            if !bytes.is_empty() {
                let left = take - bytes.len() as u64;
                return Some((Ok(bytes), (body, skip, left)));
            }
        }
    });
    cut.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(content_range: &str) -> origin::Response {
        let mut headers = http::HeaderMap::new();
        if !content_range.is_empty() {
            headers.insert(header::CONTENT_RANGE, content_range.parse().unwrap());
        }
        let (status, body) = (StatusCode::PARTIAL_CONTENT, stream::empty().boxed());
        origin::Response { status, headers, content_length: None, body, origin: "o".into() }
    }

    #[test]
    fn excerpts() {
        let shown = |asked, content_range| match Excerpt::of(asked, &part(content_range)) {
            Excerpt::All => "all".to_owned(),
            Excerpt::Part { skip, take, content_range } => format!("{skip}+{take} {content_range:?}"),
            Excerpt::Nothing { length } => format!("nothing of {length}"),
            Excerpt::Unasked => "unasked".to_owned(),
        };
        let asked = Some(Spec::FromTo(10, 19));
        for (asked, content_range, expected) in [
            (asked, "bytes 10-19/100", "all"),
            (asked, "bytes 0-99/100", "10+10 \"bytes 10-19/100\""),
            (asked, "bytes 0-14/100", "10+5 \"bytes 10-14/100\""),
            (asked, "bytes 0-4/5", "nothing of 5"),
            (asked, "bytes 50-59/100", "unasked"),
            (asked, "bytes 0-99/*", "all"),
            (asked, "", "unasked"),
            (asked, "bytes 19-10/100", "unasked"),
            (asked, "bytes 10-19/15", "unasked"),
            (None, "bytes 0-99/100", "unasked"),
            (Some(Spec::Suffix(10)), "bytes 50-99/100", "40+10 \"bytes 90-99/100\""),
            (Some(Spec::Suffix(5)), "bytes 0-4/10", "all"),
            (Some(Spec::From(60)), "bytes 50-99/100", "10+40 \"bytes 60-99/100\""),
        ] {
            assert_eq!(shown(asked, content_range), expected, "{asked:?} {content_range}");
        }
    }
}
