//! What to do, said to the one who can do it.

use http::StatusCode;

use super::{
    case::Case,
    change::{Change, skew},
    frameworks,
    report::Fix,
    words::{bytes, field, span, title},
};
use crate::cache::{FieldLines, targeted, vary::MAX_FIELDS};

pub fn of(change: Change, case: &Case) -> Fix {
    let in_charge = targeted::in_charge(&case.answer);
    let said = field(&case.answer, in_charge);
    let name = title(in_charge);
    let origin = |what, how: String| Fix::new("origin", what, how);
    let client = |what, how: String| Fix::new("client", what, how);
    match change {
        Change::UseGet => {
            client("use-get", format!("ask with GET: {} always goes to the origin", case.method))
        }
        Change::DropAsked(directive) => {
            let by_browsers = match directive {
                "no-cache" | "max-age" => " (browsers add it when a page is reloaded)",
                _ => "",
            };
            client(
                "drop-request-directive",
                format!("leave `{directive}` out of the request's Cache-Control{by_browsers}"),
            )
        }
        Change::DropPragma => client("drop-pragma", "leave `Pragma: no-cache` out of the request".to_owned()),
        Change::MendOrigin => origin(
            "mend-origin",
            format!(
                "it fails with {}: mend it; failures are stored only if they say for how long",
                case.status.as_u16()
            ),
        ),
        Change::DropSetCookie => origin(
            "drop-set-cookie",
            format!(
                "don't send `{}` with what is the same for everybody",
                field(&case.answer, "set-cookie").unwrap_or_default()
            ),
        ),
        Change::DropDirective(directive) => origin(
            "drop-directive",
            format!("take `{directive}` out of `{}`{}", said.unwrap_or_default(), by_default(case)),
        ),
        Change::NameVary => {
            let instead = match case.answer.lines("vary").any(|line| line.contains(&b'*')) {
                true => "instead of `*`".to_owned(),
                false => format!("instead of more than {MAX_FIELDS}"),
            };
            origin(
                "name-vary",
                format!("name in Vary the request fields that matter, or leave it out, {instead}"),
            )
        }
        Change::SetClock => {
            let off = skew(case).unwrap_or(0);
            let where_to = if off > 0 { "ahead" } else { "behind" };
            origin("set-clock", format!("set its clock (NTP): its Date is {} {where_to}", span(off.abs())))
        }
        Change::DropAge => origin(
            "drop-age",
            format!(
                "it came from another cache with `{}`, older than it may get{}: purge it there, or go around that cache",
                field(&case.answer, "age").unwrap_or_default(),
                field(&case.answer, "via").map_or_else(String::new, |via| format!(" ({via})")),
            ),
        ),
        Change::StrongTag => origin(
            "send-strong-etag",
            "send a strong ETag: parts are kept only if it is certain that they belong together".to_owned(),
        ),
        Change::Lifetime(seconds) => {
            let directive = if case.control().s_maxage.is_some() { "s-maxage" } else { "max-age" };
            origin("give-lifetime", lifetime(case, &format!("`{name}: {directive}={seconds}`")))
        }
        Change::Replace(seconds) => origin(
            "replace-cache-control",
            format!(
                "send `{name}: max-age={seconds}` instead of `{}`{}",
                said.unwrap_or_default(),
                by_default(case)
            ),
        ),
        Change::MarkPublic => origin(
            "mark-public",
            format!(
                "say `public` in {name}, if what it answers to these credentials or cookies is the same for everybody"
            ),
        ),
        Change::RaiseMost => Fix::new(
            "config",
            "raise-max-ttl",
            format!(
                "raise `max_ttl_secs` of its route: the answer itself is good for {}",
                span(case.said().freshness.lifetime)
            ),
        ),
        Change::RaiseSize => Fix::new(
            "config",
            "raise-max-object-size",
            format!(
                "raise `max_object_size` of its route: it has {}",
                bytes(case.length.unwrap_or_default())
            ),
        ),
        Change::DropCookies => client("drop-cookies", "leave Cookie out, where it is not needed".to_owned()),
        Change::DropAuthorization => {
            client("drop-authorization", "leave Authorization out, where it is not needed".to_owned())
        }
    }
}

fn by_default(case: &Case) -> String {
    match frameworks::guess(&case.answer) {
        Some((who, remedy)) => format!(". That is a default of {who}: {remedy}"),
        None => String::new(),
    }
}

fn lifetime(case: &Case, wanted: &str) -> String {
    let status = match case.status {
        StatusCode::OK => "",
        status if status.is_redirection() => "; a redirect is stored only if it says for how long",
        status if status.is_server_error() => "; only if its failure may be repeated for so long",
        _ => ", with this status too",
    };
    let unread = case.answer.first("expires").is_some_and(|value| crate::cache::date::parse(value).is_none());
    let why = match unread && case.control().max_age.is_none() {
        true => "; its Expires can't be read",
        false => "",
    };
    format!("send {wanted}, or for as long as it may be used{status}{why}")
}
