//! Asks several origins in order and decides which answer counts. What a request means to one origin lives with that
//! origin, and what is known of its condition with the [`Member`]; chains are cheap, and share members.
//!
//! A safe request without body is asked in rounds: everybody once, then, after a pause and if the budget allows, again
//! those whose failure may pass. Which answer counts:
//! 1. The first answer that is neither transient (408, 421, 425, 429, 500, 502, 503, 504) nor missing (404, 410).
//! 2. If there is none, a transient answer; failing that, an error. Missing is only believed when *every* origin says
//!    so: an origin that is down may well have the object, and a 404 would be remembered in its place.
//! 3. Missing. A path that an origin refuses to look up counts as missing there, below a real 404.
//!
//! Requests are shared out first, if they are ([`Balance`]); "in order" is then the order for the address.
//!
//! Where another origin could still be asked, an answer counts only with the first bytes of its body. Among equals the
//! last one counts. Any other request goes once to the first origin, and its answer stands.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use tokio::time::Instant;

use super::{
    Error, ErrorKind, Interims, Member, Repetition, Request, Response, RetryPolicy,
    breaker::{Admission, Ticket},
};

mod asking;
mod first_byte;
mod order;

use asking::Asking;
pub use order::{Balance, Share};

/// Origins in order of preference.
#[derive(Clone)]
pub struct Chain {
    members: Vec<Arc<Member>>,
    balance: Balance,
    retry: RetryPolicy,
}

/// Where a body broke that is to be gone on with.
#[derive(Debug, Clone)]
pub struct Resume {
    /// The origin it came from.
    pub at: Arc<str>,
    /// Whether a fair piece of it had come. Going on then brings no byte twice; otherwise it is a repetition, and has to be
    /// paid for.
    pub progressed: bool,
}

impl Chain {
    pub fn new(members: Vec<Arc<Member>>, retry: RetryPolicy) -> Self {
        Self { members, balance: Balance::default(), retry }
    }

    #[must_use]
    pub fn balanced(mut self, balance: Balance) -> Self {
        self.balance = balance;
        self
    }

    /// As they were given.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// Asks the origins in order; see the caption of this file for which answer counts.
    pub async fn fetch(&self, request: Request) -> Result<Response, Error> {
        let members = self.members_for(&request.target);
        let Some(first) = members.first().copied() else { return Err(nobody()) };
        if is_repeatable(&request) {
            return Asking::new(self, members, Question::from(request), None).run().await;
        }
        // It cannot fail over; so it does not go where it is likely to fail, among equals.
        let first = match self.balance {
            Balance::Order => first,
            _ => members.iter().copied().find(|member| member.is_trusted()).unwrap_or(first),
        };
        match first.admit_in_turn().await {
            Admission::Go(ticket) | Admission::Probe(ticket) => {
                first.earn();
                first.ask(request, ticket).await.1
            }
            Admission::No { retry_after, .. } | Admission::Later { retry_after } => {
                Err(turned_away(first, retry_after))
            }
        }
    }

    /// Asks for the rest of a body under its validator (`Range` and `If-Range` are in the request): first where it came from,
    /// if a fair piece of it had come, else there last. Another origin's answer counts only if it is of the same version.
    pub async fn resume(&self, request: Request, resume: &Resume) -> Result<Response, Error> {
        let (mut members, mut others): (Vec<_>, Vec<_>) =
            self.members_for(&request.target).into_iter().partition(|member| *member.name() == resume.at);
        if !resume.progressed {
            if let Some(origin) = members.first().copied()
                && !origin.may_repeat(Repetition::Resume)
            {
                if others.is_empty() {
                    let detail = "nothing came of it, and the retry budget is used up";
                    return Err(Error::new(origin.name(), ErrorKind::BrokenBody, detail));
                }
                members.clear();
            }
            std::mem::swap(&mut members, &mut others);
        }
        members.append(&mut others);
        if members.is_empty() {
            return Err(nobody());
        }
        Asking::new(self, members, Question::from(request), Some(resume)).run().await
    }

    fn members_for(&self, target: &str) -> Vec<&Arc<Member>> {
        self.balance.arrange(self.members.iter().filter(|member| member.serves(target)).collect(), target)
    }

    /// Ready when a request waits for what one to this origin occupies. Whoever can do without for a while gives it back then.
    pub fn wanted(&self, origin: &str) -> BoxFuture<'static, ()> {
        match self.members.iter().find(|member| **member.name() == *origin) {
            Some(member) => member.wanted(),
            None => Box::pin(std::future::pending()),
        }
    }

    /// Asks one origin, and a second time, there or at the `spare`, if that takes unusually long.
    async fn ask(
        &self,
        member: &Arc<Member>,
        ticket: Ticket,
        question: &Question,
        spare: Option<&Arc<Member>>,
    ) -> (super::Attempt, Result<Response, Error>) {
        let first = member.ask(question.ask(), ticket);
        let patience = if self.retry.hedge { member.quantile(0.95) } else { None };
        let Some(patience) = patience else { return first.await };
        let began = Instant::now();
        let mut first = std::pin::pin!(first);
        if let Ok(done) = tokio::time::timeout(patience.max(LEAST_PATIENCE), &mut first).await {
            return done;
        }
        let other = spare.unwrap_or(member);
        let Some(ticket) = other.admit_hedge() else { return first.await };
        let mut second = std::pin::pin!(other.ask(question.ask(), ticket));
        tokio::select! {
            done = &mut first => match done.0 {
                super::Attempt::Answered => done,
                _ => better(done, second.await),
            },
            done = &mut second => match done.0 {
                super::Attempt::Answered => {
                    // Else only the fast answers would count, and every other one seem slow.
                    member.took_longer_than(began.elapsed());
                    done
                }
                _ => better(first.await, done),
            },
        }
    }
}

/// A head that comes sooner than this after the request is never worth a second one.
const LEAST_PATIENCE: Duration = Duration::from_millis(2);

type Asked = (super::Attempt, Result<Response, Error>);

/// The hedge's answer only if it is one.
fn better(first: Asked, second: Asked) -> Asked {
    match (first.0, second.0) {
        (super::Attempt::Answered, _) => first,
        (_, super::Attempt::Answered) => second,
        _ => first,
    }
}

fn nobody() -> Error {
    Error::new(&Arc::from("none"), ErrorKind::Connect, "no origin is configured")
}

fn turned_away(member: &Member, retry_after: Duration) -> Error {
    let error = Error::new(member.name(), ErrorKind::BreakerOpen, "it has failed too often of late");
    Error { retry_after: Some(retry_after), ..error }
}

/// Whether sending it twice does no harm: its method is safe (RFC 9110 §9.2.1) and it has no body.
fn is_repeatable(request: &Request) -> bool {
    request.body.is_none() && request.method.is_safe()
}

/// A repeatable request, to be sent as often as needed.
pub(super) struct Question {
    pub(super) method: Method,
    target: String,
    headers: HeaderMap,
    interims: Option<Interims>,
    client: Option<IpAddr>,
    patient: bool,
}

impl From<Request> for Question {
    fn from(Request { method, target, headers, body: _, interims, client, patient }: Request) -> Self {
        Self { method, target, headers, interims, client, patient }
    }
}

impl Question {
    pub(super) fn ask(&self) -> Request {
        Request {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            body: None,
            interims: self.interims.clone(),
            client: self.client,
            patient: self.patient,
        }
    }
}

#[cfg(test)]
mod tests;
