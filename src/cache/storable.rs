//! May this response be stored by a shared cache? (RFC 9111 §3)

use http::{Method, StatusCode};

use super::{
    FieldLines,
    control::{RequestControl, ResponseControl},
    freshness::{Basis, Freshness},
    validator,
};

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    Method,
    RequestNoStore,
    NoStore,
    Private,
    Authorization,
    VaryStar,
    SetCookie,
    /// It says too little to be for everybody, and who asked sent cookies.
    Cookie,
    /// An interim or otherwise unusable status.
    Status,
    /// Neither a lifetime, nor a time to be used in when stale, nor a validator: it could never be used again.
    NothingToReuse,
    /// It is a failure, and what it would take the place of may stand in for it.
    StandIn,
    /// Longer than it may be here; or memory cannot hold it, and parts of it cannot be asked for again.
    TooLarge,
}

/// What of the request matters for storing its answer.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub control: &'a RequestControl,
    pub authorization: bool,
    /// It carries cookies.
    pub cookie: bool,
}

/// What operators choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Store what comes with `Set-Cookie` and a lifetime of its own, though it does not say that it is for everybody.
    pub cookies_with_lifetime: bool,
    /// Bytes of what is stored.
    pub max_length: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { cookies_with_lifetime: false, max_length: u64::MAX }
    }
}

pub fn check(
    rules: &Rules,
    asked: &Asked<'_>,
    status: StatusCode,
    fields: &impl FieldLines,
    control: &ResponseControl,
    freshness: &Freshness,
) -> Result<(), Refusal> {
    check_aloud(rules, asked, status, fields, control, freshness, &mut |_, _| {})
}

/// Hears each question that is asked, and whether its answer stands in the way of storing. The first that does is the
/// last to be asked.
pub type Hear<'a> = &'a mut dyn FnMut(Refusal, bool);

/// The same, telling what the verdict stands on.
pub fn check_aloud(
    rules: &Rules,
    asked: &Asked<'_>,
    status: StatusCode,
    fields: &impl FieldLines,
    control: &ResponseControl,
    freshness: &Freshness,
    hear: Hear<'_>,
) -> Result<(), Refusal> {
    let mut unless = |objects: bool, refusal: Refusal| {
        hear(refusal, objects);
        if objects { Err(refusal) } else { Ok(()) }
    };
    unless(!matches!(*asked.method, Method::GET | Method::HEAD), Refusal::Method)?;
    unless(asked.control.no_store, Refusal::RequestNoStore)?;
    // RFC 9111 §5.2.2.3: a cache that understands the status ignores the no-store beside must-understand.
    let understood = control.must_understand && understands(status);
    unless(control.no_store && !understood, Refusal::NoStore)?;
    unless(control.private, Refusal::Private)?;
    let explicitly_shared = control.public || control.s_maxage.is_some();
    let shared = explicitly_shared || control.must_revalidate;
    unless(asked.authorization && !shared, Refusal::Authorization)?;
    let any_star = fields
        .lines("vary")
        .any(|line| line.split(|byte| *byte == b',').any(|member| member.trim_ascii() == b"*"));
    unless(any_star, Refusal::VaryStar)?;
    // RFC 9111 §7.3 leaves it to the origin to forbid this; most that set cookies do not know that they should.
    let kept_with_cookie = rules.cookies_with_lifetime && freshness.is_explicit() && !asked.cookie;
    let with_cookie = fields.first("set-cookie").is_some();
    unless(with_cookie && !explicitly_shared && !kept_with_cookie, Refusal::SetCookie)?;
    let unusable = status.is_informational() || matches!(status.as_u16(), 206 | 304 | 416);
    unless(unusable || control.must_understand && !understood, Refusal::Status)?;
    let validatable = status == StatusCode::OK
        && (validator::strong(fields).is_some()
            || fields.first("etag").is_some()
            || validator::last_modified(fields).is_some());
    // An error that may only be used stale is of no use to anybody, and would take the place of what was good.
    let grace = if status.is_server_error() { 0 } else { control.grace() };
    let of_use = freshness.lifetime.saturating_add(i64::from(grace) * 1000);
    let lives = freshness.basis != Basis::None && of_use > freshness.initial_age;
    unless(!lives && !validatable, Refusal::NothingToReuse)
}

/// May it be stored although operators let it be used for longer than it says? (See [`super::Lifetimes`].) Not when it may
/// be for one user: an answer says so at least by not saying for how long it is good.
pub fn check_lengthened(
    cookie: bool,
    control: &ResponseControl,
    said: &Freshness,
    bound: &Freshness,
) -> Result<(), Refusal> {
    let shared = control.public || control.s_maxage.is_some();
    match cookie && !shared && bound.lifetime > said.lifetime {
        true => Err(Refusal::Cookie),
        false => Ok(()),
    }
}

/// Final statuses whose caching behaviour is implemented here.
fn understands(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 302 | 303 | 307 | 308 | 404 | 405 | 410 | 414 | 451 | 501
    )
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn verdict(
        method: Method,
        asked: &str,
        authorization: bool,
        status: u16,
        lines: &[(&str, &str)],
    ) -> Result<(), Refusal> {
        let map: HeaderMap = lines
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let mut request = HeaderMap::new();
        if !asked.is_empty() {
            request.insert("cache-control", HeaderValue::from_str(asked).unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let control = ResponseControl::parse(&map);
        let freshness = Freshness::of(status, &map, &control, 0, 0);
        let request = RequestControl::parse(&request);
        check(
            &Rules::default(),
            &Asked { method: &method, control: &request, authorization, cookie: false },
            status,
            &map,
            &control,
            &freshness,
        )
    }

    #[test]
    fn rules_of_storing() {
        let get = || Method::GET;
        let fresh = ("cache-control", "max-age=60");
        type Case<'a> = (Method, &'a str, bool, u16, &'a [(&'a str, &'a str)], Result<(), Refusal>);
        let cases: &[Case<'_>] = &[
            (get(), "", false, 200, &[fresh], Ok(())),
            (Method::HEAD, "", false, 200, &[fresh], Ok(())),
            (Method::POST, "", false, 200, &[fresh], Err(Refusal::Method)),
            (get(), "no-store", false, 200, &[fresh], Err(Refusal::RequestNoStore)),
            (get(), "", false, 200, &[("cache-control", "max-age=60, no-store")], Err(Refusal::NoStore)),
            (get(), "", false, 200, &[("cache-control", "max-age=60, no-store, must-understand")], Ok(())),
            (
                get(),
                "",
                false,
                299,
                &[("cache-control", "max-age=60, must-understand")],
                Err(Refusal::Status),
            ),
            (get(), "", false, 200, &[("cache-control", "private, max-age=60")], Err(Refusal::Private)),
            (get(), "", true, 200, &[fresh], Err(Refusal::Authorization)),
            (get(), "", true, 200, &[("cache-control", "public, max-age=60")], Ok(())),
            (get(), "", true, 200, &[("cache-control", "s-maxage=60")], Ok(())),
            (get(), "", true, 200, &[("cache-control", "must-revalidate, max-age=60")], Ok(())),
            (get(), "", false, 200, &[fresh, ("vary", "accept, *")], Err(Refusal::VaryStar)),
            (get(), "", false, 200, &[fresh, ("set-cookie", "a=b")], Err(Refusal::SetCookie)),
            (
                get(),
                "",
                false,
                200,
                &[("cache-control", "public, max-age=60"), ("set-cookie", "a=b")],
                Ok(()),
            ),
            (get(), "", false, 299, &[fresh], Ok(())),
            (get(), "", false, 503, &[fresh], Ok(())),
            (get(), "", false, 304, &[fresh], Err(Refusal::Status)),
            (get(), "", false, 200, &[], Err(Refusal::NothingToReuse)),
            (get(), "", false, 200, &[("etag", "\"a\"")], Ok(())),
            (get(), "", false, 404, &[("etag", "\"a\"")], Err(Refusal::NothingToReuse)),
            (get(), "", false, 200, &[("cache-control", "max-age=0")], Err(Refusal::NothingToReuse)),
            (get(), "", false, 200, &[("cache-control", "max-age=0"), ("etag", "W/\"a\"")], Ok(())),
            (get(), "", false, 200, &[("cache-control", "max-age=0, stale-while-revalidate=9")], Ok(())),
            (get(), "", false, 404, &[("cache-control", "max-age=0, stale-if-error=9")], Ok(())),
            (
                get(),
                "",
                false,
                500,
                &[("cache-control", "max-age=0, stale-while-revalidate=9")],
                Err(Refusal::NothingToReuse),
            ),
            (
                get(),
                "",
                false,
                503,
                &[("cache-control", "max-age=0, stale-if-error=9")],
                Err(Refusal::NothingToReuse),
            ),
            (
                get(),
                "",
                false,
                200,
                &[("cache-control", "max-age=1, stale-if-error=9"), ("age", "9")],
                Ok(()),
            ),
            (
                get(),
                "",
                false,
                200,
                &[("cache-control", "max-age=1, stale-if-error=9"), ("age", "10")],
                Err(Refusal::NothingToReuse),
            ),
            (
                get(),
                "",
                false,
                200,
                &[("cache-control", "max-age=0, must-revalidate, stale-while-revalidate=9")],
                Err(Refusal::NothingToReuse),
            ),
            (
                get(),
                "",
                false,
                200,
                &[("cache-control", "stale-while-revalidate=9")],
                Err(Refusal::NothingToReuse),
            ),
        ];
        for (method, asked, authorization, status, lines, expected) in cases {
            let found = verdict(method.clone(), asked, *authorization, *status, lines);
            assert_eq!(found, *expected, "{method} {asked} {authorization} {status} {lines:?}");
        }
    }

    #[test]
    fn cookies_where_operators_allow_them() {
        let explicit = ("cache-control", "max-age=60");
        let cookie = ("set-cookie", "a=b");
        for (allowed, asked_with_cookie, lines, stored) in [
            (false, false, [explicit, cookie], false),
            (true, false, [explicit, cookie], true),
            (true, true, [explicit, cookie], false),
            (true, false, [("etag", "\"1\""), cookie], false),
            (false, true, [("cache-control", "s-maxage=60"), cookie], true),
        ] {
            let map: HeaderMap = lines
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            let control = ResponseControl::parse(&map);
            let freshness = Freshness::of(StatusCode::OK, &map, &control, 0, 0);
            let request = RequestControl::default();
            let asked = Asked {
                method: &Method::GET,
                control: &request,
                authorization: false,
                cookie: asked_with_cookie,
            };
            let rules = Rules { cookies_with_lifetime: allowed, ..Rules::default() };
            let verdict = check(&rules, &asked, StatusCode::OK, &map, &control, &freshness);
            assert_eq!(verdict.is_ok(), stored, "{allowed} {asked_with_cookie} {lines:?}");
        }
    }

    /// The suite asks this of some statuses only. Explicit freshness makes any final status storable, but for those
    /// that speak of a part or of the request; heuristics only those of RFC 9110 §15.1.
    #[test]
    fn lifetimes_by_status() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let old = ("last-modified", "Sun, 06 Nov 1994 08:39:37 GMT");
        for status in (100..=599).chain([600, 799, 999]) {
            let ours = status < 200 || matches!(status, 206 | 304 | 416);
            let guessed = matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501);
            for (lines, expected) in [
                (&[("cache-control", "max-age=60")][..], !ours),
                (&[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")], !ours),
                (&[("date", date), ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")], !ours),
                (&[("date", date), old], guessed),
                (&[("date", date), old, ("cache-control", "public")], !ours),
                (&[("date", date)], false),
            ] {
                let stored = verdict(Method::GET, "", false, status, lines).is_ok();
                assert_eq!(stored, expected, "{status} {lines:?}");
            }
        }
    }
}
