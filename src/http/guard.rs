//! Who may get what a route keeps for some. Signatures are taken off addresses before anything else looks at them: they are
//! in no key, no log, and no origin sees them.

use http::{HeaderMap, HeaderValue, Method, header};
use percent_encoding::percent_decode;

use super::{data::Data, gate};
use crate::{
    admission::{Denied, IN_FRONT, Scope, Signature},
    delivery::{Access, FieldLines, Fields, Response, Target},
};

/// Lets the request pass, without what has let it in. True: not everybody would have been let in.
pub fn admit(
    data: &Data,
    method: &Method,
    signature: Option<&Signature>,
    target: &Target,
    headers: &mut HeaderMap,
) -> Result<bool, Box<Response>> {
    let signed = signature.map(|signature| data.admission.check_signature(signature, &target.to_string()));
    // Not even where it would not be needed: whoever made it up is looking for something.
    if let Some(Err(denied)) = signed {
        return Err(gate::refusal(denied));
    }
    if data.admission.has_keys() {
        forget_referer(headers);
    }
    let needed = data.delivery.access(target, headers);
    // Whoever may look may not change anything.
    let scope = if method.is_safe() { Scope::Read } else { Scope::Upload };
    let grant = data.admission.identify(headers);
    if grant.is_ok() {
        // It was for us, and no origin is to have it: what comes of it is the same for all who are let in.
        headers.remove(header::AUTHORIZATION);
    }
    match needed {
        Access::Public => return Ok(false),
        Access::Signed if signed.is_some() && method.is_safe() => return Ok(true),
        Access::Signed if matches!(grant, Err(Denied::Missing | Denied::Closed)) => {
            return Err(gate::refusal(Denied::Signature));
        }
        Access::Signed | Access::Token => {}
    }
    grant.and_then(|grant| grant.check(scope, target.path())).map(|()| true).map_err(gate::refusal)
}

/// Says to caches behind us that an answer is for whoever was let in, whatever its origin said to us: how long it is good
/// stays, but no shared cache is to give it to others.
pub fn keep_private(response: &mut Response) {
    let lines: Vec<Vec<u8>> = match &response.fields {
        Fields::Stored(head) => head.fields.lines("cache-control").map(<[u8]>::to_vec).collect(),
        Fields::Own(headers) => headers.lines("cache-control").map(<[u8]>::to_vec).collect(),
    };
    let mut kept = vec!["private".to_owned()];
    for directive in lines.iter().flat_map(|line| split_list(line)) {
        let name = directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !matches!(name.as_str(), "" | "public" | "private" | "s-maxage" | "proxy-revalidate") {
            kept.push(directive);
        }
    }
    response.added.retain(|(name, _)| *name != header::CACHE_CONTROL);
    if let Ok(value) = HeaderValue::try_from(kept.join(", ")) {
        response.added.push((header::CACHE_CONTROL, value));
    }
    if let Fields::Own(headers) = &mut response.fields {
        headers.remove("cdn-cache-control");
        headers.remove("surrogate-control");
    }
}

/// The members of a list; commas in quotes separate none.
fn split_list(line: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(line);
    let mut quoted = false;
    let members = text.split(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    });
    members.map(|member| member.trim().to_owned()).collect()
}

/// The page that links here may have a signed address itself.
fn forget_referer(headers: &mut HeaderMap) {
    let tells = |value: &HeaderValue| {
        let text = percent_decode(value.as_bytes()).decode_utf8_lossy();
        text.contains(IN_FRONT) || text.contains("mr_signature=")
    };
    if headers.get(header::REFERER).is_some_and(tells) {
        headers.remove(header::REFERER);
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::delivery::{Body, Outcome, Reason, Served};

    #[test]
    fn nothing_is_left_for_shared_caches() {
        for (control, expected) in [
            ("", "private"),
            ("public, max-age=60", "private, max-age=60"),
            ("max-age=60, S-MaxAge=600, immutable", "private, max-age=60, immutable"),
            ("private=\"set-cookie, x\", no-cache", "private, no-cache"),
            ("no-store", "private, no-store"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
            headers.insert("cdn-cache-control", HeaderValue::from_static("max-age=600"));
            let served = Served::new(Outcome::Miss, Reason::UriMiss);
            let mut response = Response::new(StatusCode::OK, Fields::Own(headers), Body::Empty, served);
            keep_private(&mut response);
            assert_eq!(response.added, [(header::CACHE_CONTROL, HeaderValue::from_static(expected))]);
            assert!(matches!(&response.fields, Fields::Own(left) if !left.contains_key("cdn-cache-control")));
        }
    }
}
