//! Why, in a sentence, and what else is worth knowing.

use millrace_kit::clock::UnixMillis;

use super::{
    super::{
        fill::Became,
        outcome::{Outcome, Reason},
    },
    case::{Case, Ruling},
    change::skew,
    decision::Subject,
    report::Explanation,
    steps,
    words::{field, span},
};
use crate::cache::{FieldLines, freshness::Basis, purge::Standing, storable::Refusal};

/// Known variants from which on there are remarkably many.
const MANY: usize = 8;

impl Subject<'_> {
    /// One sentence.
    pub(super) fn because(&self, reason: Reason, told: &Explanation) -> String {
        let ago = |at: UnixMillis| span((self.now - at).max(0));
        match (reason, self.case) {
            (_, _) if !told.purges.is_empty() && self.place.standing != Standing::Current => {
                let purges =
                    told.purges.iter().map(|purge| format!("purge {} of {}", purge.sequence, purge.named));
                format!("it is stored, and outdated by {}", purges.collect::<Vec<_>>().join(", "))
            }
            (Reason::Fresh, Some(case)) => {
                let left = span(case.compute().freshness.ttl(self.now));
                format!("stored {} ago and fresh for {left} more", ago(case.times.1))
            }
            (Reason::Expired, Some(case)) => {
                let freshness = case.compute().freshness;
                let forced = case.control().no_cache && freshness.ttl(self.now) > 0;
                match forced {
                    true => format!(
                        "it has to be validated at each use: {}",
                        steps::evidence(case, Refusal::NoStore).unwrap_or_default()
                    ),
                    false => format!(
                        "it is {} old and was good for {} ({})",
                        span(freshness.age(self.now)),
                        span(freshness.lifetime),
                        steps::lifetime_evidence(case)
                    ),
                }
            }
            (Reason::StaleAccepted | Reason::StaleWhileRevalidate, Some(case)) => {
                format!("it ended {} ago", span(-case.compute().freshness.ttl(self.now)))
            }
            (Reason::StaleIfError, Some(case)) => {
                let ended = span(-case.compute().freshness.ttl(self.now));
                let failed = self.origin_failed().map(|(how, at)| format!(" {} ago ({how})", ago(at)));
                let failed = failed.unwrap_or_default();
                format!("it ended {ended} ago, and stands in: the origin could not answer{failed}")
            }
            (Reason::RequestNoCache, Some(case)) => {
                let said = field(&case.request, "cache-control").or_else(|| field(&case.request, "pragma"));
                format!("the request wants it validated: {}", said.unwrap_or_default())
            }
            (Reason::Refused(Refusal::NothingToReuse), Some(case)) => nothing_to_reuse(case),
            (Reason::Refused(Refusal::Method), _) => {
                format!("{} is answered by the origin alone", self.request.method)
            }
            (Reason::Refused(Refusal::RequestNoStore), _) => "the request says `no-store`".to_owned(),
            (Reason::Refused(refusal), Some(case)) => {
                let evidence = steps::evidence(case, refusal).unwrap_or_default();
                format!("its answer is not stored: {} ({evidence})", objection(refusal))
            }
            (Reason::NotFound, Some(case)) => {
                let status = case.status.as_u16();
                match case.rule(self.fills, &mut |_, _| {}) {
                    Ruling::Refused(refusal) if refusal != Refusal::NothingToReuse => {
                        let evidence = steps::evidence(case, refusal).unwrap_or_default();
                        format!(
                            "the origin answers {status}, which is not stored: {} ({evidence})",
                            objection(refusal)
                        )
                    }
                    _ => format!("the origin answers {status}, and not for how long"),
                }
            }
            (Reason::OnlyIfCached, _) => "the request says `only-if-cached`, and it is not stored".to_owned(),
            (Reason::Origin(kind), _) => format!("the origin could not answer: {}", kind.as_str()),
            (Reason::Partial, _) => "not all of its bytes are stored".to_owned(),
            (Reason::UriMiss | Reason::VaryMiss, _) if self.under_way => {
                "it is being fetched at this moment".to_owned()
            }
            (Reason::VaryMiss, _) => {
                let by = told.variants.iter().flat_map(|variants| &variants.by);
                let (keyed, varies): (Vec<&str>, Vec<_>) =
                    by.map(|name| &**name).partition(|name| self.is_keyed(name));
                let told = [("Vary", varies), ("key of its route", keyed)];
                let told = told.iter().filter(|(_, names)| !names.is_empty());
                let told = told.map(|(what, names)| format!("{what}: {}", names.join(", ")));
                let told = told.collect::<Vec<_>>().join("; ");
                format!("it is stored for requests with other fields ({told})")
            }
            (Reason::UriMiss, _) => match self.note {
                Some(note) if self.is_too_large() => {
                    format!("it was fetched {} ago and is too large to be kept", ago(note.at))
                }
                Some(note) if matches!(note.became, Became::Refused(_)) => {
                    format!(
                        "it was fetched {} ago for a request whose answer could not be stored",
                        ago(note.at)
                    )
                }
                Some(note) => format!("it was fetched {} ago and is not there any more", ago(note.at)),
                None => "it is not stored, and was not fetched lately".to_owned(),
            },
            _ => reason.as_str().to_owned(),
        }
    }

    pub(super) fn notes(&self, outcome: Outcome, reason: Reason, told: &Explanation) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(noise) = self.noise.as_ref().filter(|noise| noise.sure || reason == Reason::UriMiss) {
            let hint = if noise.sure && outcome != Outcome::Hit {
                ""
            } else {
                ": if that changes nothing, leave it out of the key"
            };
            notes.push(format!("{}{hint}", noise.tell()));
        }
        if let Some(variants) = told.variants.as_ref().filter(|variants| variants.known.len() >= MANY) {
            notes.push(format!(
                "at least {} variants were stored lately (Vary: {})",
                variants.known.len(),
                variants.by.join(", ")
            ));
        }
        if let Some(case) = self.case {
            if case.stored && case.answer.contains_key(http::header::SET_COOKIE) {
                let cookie = field(&case.answer, "set-cookie").unwrap_or_default();
                notes.push(format!("everybody gets the same {cookie}"));
            }
            if case.stored && !(case.status.is_success() || case.status.is_redirection()) {
                notes.push(format!("what is stored is an error: status {}", case.status.as_u16()));
            }
            let control = case.control();
            let grace = control.stale_while_revalidate.or(control.stale_if_error);
            if case.stored && grace.is_some() && control.forbids_stale() {
                let says = |said, name| if said { Some(name) } else { None };
                let by = says(control.no_cache, "no-cache")
                    .or(says(control.must_revalidate, "must-revalidate"))
                    .or(says(control.proxy_revalidate, "proxy-revalidate"))
                    .unwrap_or("s-maxage");
                notes.push(format!(
                    "`{by}` forbids to use it stale, whatever stale-while-revalidate or stale-if-error say beside it"
                ));
            }
            if case.stored && case.compute().freshness.basis == Basis::Heuristic {
                notes.push("its lifetime is a guess: the origin does not say one".to_owned());
            }
            if reason == Reason::Refused(Refusal::SetCookie) && case.compute().freshness.is_explicit() {
                notes.push(
                    "where cookies may go to everybody, cache.cookies_with_lifetime allows storing them"
                        .to_owned(),
                );
            }
        }
        if let Some(validated) =
            self.visible().filter(|_| matches!(reason, Reason::Expired | Reason::RequestNoCache))
        {
            notes.push(match validated.fields.first("etag").or(validated.fields.first("last-modified")) {
                Some(_) => {
                    "the next request asks the origin whether it has changed; if not, only the head travels"
                        .to_owned()
                }
                None => "without a validator, the next request fetches all of it again".to_owned(),
            });
        }
        notes
    }
}

fn nothing_to_reuse(case: &Case) -> String {
    let computed = case.compute();
    let lifetime = format!("{} ({})", span(computed.freshness.lifetime), steps::lifetime_evidence(case));
    let age = span(computed.freshness.initial_age);
    match skew(case) {
        _ if case.status.is_server_error() => {
            format!("the origin answers {}, and not for how long", case.status.as_u16())
        }
        _ if computed.freshness.basis == Basis::None => {
            format!("its answer (status {}) has neither a lifetime nor a validator", case.status.as_u16())
        }
        Some(off) if off < 0 => format!(
            "by its Date it is {age} old when it comes, more than its lifetime of {lifetime}: the origin's clock is behind"
        ),
        Some(off) if computed.freshness.lifetime == 0 => format!(
            "it ends before its Date, which is {} ahead of ours ({})",
            span(off),
            steps::lifetime_evidence(case)
        ),
        _ if computed.age_value > 0 => {
            format!(
                "it comes {age} old from another cache, more than its lifetime of {lifetime}, and has no validator"
            )
        }
        _ => format!("its lifetime is {lifetime}, and it has no validator"),
    }
}

fn objection(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoStore => "the origin forbids it",
        Refusal::Private => "it is for one client only",
        Refusal::Authorization => "it answers credentials and does not say that it is for everybody",
        Refusal::VaryStar => "what it depends on is not in the request, or too much",
        Refusal::Cookie => "it says too little to be for everybody, and who asked sent cookies",
        Refusal::SetCookie => "it sets a cookie, which everybody would get",
        Refusal::Status => "its status can't be reused, or not without a strong validator",
        Refusal::StandIn => "it is a failure, for which something older stands in",
        Refusal::TooLarge => "it is too large",
        Refusal::Method | Refusal::RequestNoStore | Refusal::NothingToReuse => "it could not be used again",
    }
}
