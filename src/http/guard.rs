//! Who may get what a route keeps for some. Signatures are taken off addresses before anything else looks at them: they are
//! in no key, no log, and no origin sees them.

use http::{HeaderMap, HeaderValue, Method, header};

use super::{data::Data, gate};
use crate::{
    admission::{Denied, IN_FRONT, Scope, Signature},
    delivery::{Access, Response, Target},
};

/// Lets the request pass, without what has let it in.
pub fn admit(
    data: &Data,
    method: &Method,
    signature: Option<&Signature>,
    target: &Target,
    headers: &mut HeaderMap,
) -> Result<(), Box<Response>> {
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
        Access::Public => return Ok(()),
        Access::Signed if signed.is_some() && method.is_safe() => return Ok(()),
        Access::Signed if matches!(grant, Err(Denied::Missing | Denied::Closed)) => {
            return Err(gate::refusal(Denied::Signature));
        }
        Access::Signed | Access::Token => {}
    }
    grant.and_then(|grant| grant.check(scope, target.path())).map_err(gate::refusal)
}

/// The page that links here may have a signed address itself.
fn forget_referer(headers: &mut HeaderMap) {
    let tells = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.contains(IN_FRONT) || text.contains("mr_signature=")
    };
    if headers.get(header::REFERER).is_some_and(tells) {
        headers.remove(header::REFERER);
    }
}
