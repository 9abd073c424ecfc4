//! One question on its way through the origins of a chain.

use std::{sync::Arc, time::Duration};

use http::{StatusCode, header};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    super::{
        Attempt, Error, ErrorKind, Member, Repetition, Response,
        breaker::{Admission, Ticket},
        retry::retry_after,
    },
    Chain, Question, Resume,
    first_byte::awaited,
    nobody, turned_away,
};

pub(super) struct Asking<'a> {
    chain: &'a Chain,
    question: Question,
    resume: Option<&'a Resume>,
    candidates: Vec<Candidate<'a>>,
    best: Option<(u8, Result<Response, Error>)>,
    /// How long the origins that failed asked to be left alone, at least.
    pause: Duration,
    began: Instant,
}

struct Candidate<'a> {
    member: &'a Arc<Member>,
    /// Asking it again would not help.
    done: bool,
}

/// How asking one origin ended.
enum Ended {
    /// This is the answer to the question.
    With(Result<Response, Error>),
    /// Somebody else may know better.
    Inconclusive,
    /// It was not asked, and may be if nobody else answers.
    Spared,
    /// Nobody may ask it for so long.
    Closed(Duration),
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        chain: &'a Chain,
        members: Vec<&'a Arc<Member>>,
        question: Question,
        resume: Option<&'a Resume>,
    ) -> Self {
        let candidates = members.into_iter().map(|member| Candidate { member, done: false }).collect();
        Self { chain, question, resume, candidates, best: None, pause: Duration::ZERO, began: Instant::now() }
    }

    pub(super) async fn run(mut self) -> Result<Response, Error> {
        let policy = &self.chain.retry;
        for round in 0..policy.attempts_per_origin.max(1) {
            if round > 0 {
                if self.candidates.iter().all(|candidate| candidate.done) {
                    break;
                }
                tokio::time::sleep(policy.backoff(round).max(self.pause)).await;
            }
            if let Some(answer) = self.round(round > 0).await {
                return answer;
            }
        }
        self.best.map_or_else(|| Err(nobody()), |(_, result)| result)
    }

    /// Everybody once; those that are better left alone, last.
    async fn round(&mut self, again: bool) -> Option<Result<Response, Error>> {
        let (mut spared, mut closed) = (Vec::new(), Vec::new());
        for index in 0..self.candidates.len() {
            match self.visit(index, again, self.candidates.len() > 1).await {
                Ended::With(answer) => return Some(answer),
                Ended::Inconclusive => {}
                Ended::Spared => spared.push(index),
                Ended::Closed(wait) => closed.push((wait, index)),
            }
        }
        for index in spared {
            if let Ended::With(answer) = self.visit(index, again, false).await {
                return Some(answer);
            }
        }
        // Where nobody could be asked, the one that is tried soonest is waited for.
        closed.sort_unstable();
        let soonest = closed.first().filter(|_| self.best.is_none()).map(|(_, index)| *index);
        for (wait, index) in closed.into_iter().rev() {
            if Some(index) != soonest {
                self.turn_away(index, wait);
            } else if let Ended::With(answer) = self.visit(index, again, false).await {
                return Some(answer);
            }
        }
        None
    }

    async fn visit(&mut self, index: usize, again: bool, alternative: bool) -> Ended {
        let Candidate { member, done } = self.candidates[index];
        if done || self.is_late() {
            return Ended::Inconclusive;
        }
        let admission = match alternative {
            true => member.admit(true),
            false if self.question.patient && !again => member.admit_in_turn().await,
            false => member.admit(false),
        };
        let ticket = match admission {
            Admission::Go(ticket) => ticket,
            Admission::Probe(ticket) if alternative && member.probe(&self.question, ticket) => {
                return Ended::Spared;
            }
            Admission::Probe(ticket) => ticket,
            Admission::No { thin: true, .. } => return Ended::Spared,
            Admission::Later { .. } if alternative => return Ended::Spared,
            Admission::No { retry_after, .. } if alternative => return Ended::Closed(retry_after),
            Admission::No { retry_after, .. } | Admission::Later { retry_after } => {
                self.turn_away(index, retry_after);
                return Ended::Inconclusive;
            }
        };
        if !again {
            member.earn();
        } else if !member.may_repeat(Repetition::Retry) {
            debug!(origin = %member.name(), "not asked again: the retry budget is used up");
            self.candidates[index].done = true;
            return Ended::Inconclusive;
        }
        self.ask(index, member, ticket).await
    }

    fn turn_away(&mut self, index: usize, retry_after: Duration) {
        let Candidate { member, done } = &mut self.candidates[index];
        *done = true;
        member.note_wanted(&self.question);
        let error = turned_away(member, retry_after);
        self.keep(rank(Attempt::Failed(error.kind)), Err(error));
    }

    async fn ask(&mut self, index: usize, member: &Arc<Member>, ticket: Ticket) -> Ended {
        let next = self.candidates.iter().skip(index + 1).find(|next| !next.done).map(|next| next.member);
        // Of what another one has, the version would have to be judged first.
        let spare = next.filter(|_| self.resume.is_none());
        let (mut attempt, mut result) = self.chain.ask(member, ticket, &self.question, spare).await;
        if attempt == Attempt::Answered
            && next.is_some()
            && let Ok(answer) = result
        {
            result = awaited(&self.question.method, answer).await;
            attempt = Attempt::of(&result);
        }
        let is_changed = attempt == Attempt::Answered && !self.is_of_the_version(&result);
        let at_home = self.resume.is_some_and(|resume| resume.at == *member.name());
        if attempt == Attempt::Answered && (!is_changed || at_home) {
            return Ended::With(result);
        }
        if attempt != Attempt::Missing {
            member.note_wanted(&self.question);
        }
        let wish = match &result {
            Ok(answer) => retry_after(&answer.headers),
            Err(error) => error.retry_after,
        };
        let wish = wish.unwrap_or_default();
        self.candidates[index].done =
            !attempt.may_retry(&self.chain.retry) || wish > self.chain.retry.backoff_max;
        if !self.candidates[index].done {
            self.pause = self.pause.max(wish);
        }
        if let Some(next) = next {
            report_failover(attempt, &result, member.name(), next.name());
        }
        // The answer that no longer counts is dropped here, and its connection with it.
        self.keep(if is_changed { CHANGED } else { rank(attempt) }, result);
        Ended::Inconclusive
    }

    /// There is something to answer with, and a better answer would come too late.
    fn is_late(&self) -> bool {
        let late = self.chain.retry.give_up.is_some_and(|limit| self.began.elapsed() >= limit);
        late && self.best.is_some()
    }

    fn keep(&mut self, rank: u8, result: Result<Response, Error>) {
        if self.best.as_ref().is_none_or(|(best, _)| *best <= rank) {
            self.best = Some((rank, result));
        }
    }

    fn is_of_the_version(&self, result: &Result<Response, Error>) -> bool {
        let (Some(_), Ok(answer)) = (self.resume, result) else { return true };
        let wanted = self.question.headers.get(header::IF_RANGE);
        let named = |field| answer.headers.get(field) == wanted;
        matches!(answer.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
            && (named(header::ETAG)
                || !answer.headers.contains_key(header::ETAG) && named(header::LAST_MODIFIED))
    }
}

/// Of an answer of another version than the one to go on with: nobody has that one any more.
const CHANGED: u8 = 6;

/// See the caption of `chain/mod.rs`.
fn rank(attempt: Attempt) -> u8 {
    match attempt {
        Attempt::Answered => CHANGED,
        Attempt::Transient => 5,
        Attempt::Failed(ErrorKind::BreakerOpen) => 3,
        Attempt::Failed(kind) if kind.is_retryable() => 4,
        Attempt::Missing => 2,
        Attempt::Failed(_) => 1,
    }
}

/// A missing asset is what a fallback chain is for; an origin in trouble is worth waking somebody up. The target stays
/// out of the log, since it may carry a signature.
fn report_failover(attempt: Attempt, result: &Result<Response, Error>, from: &str, to: &str) {
    match (attempt, result) {
        (Attempt::Missing, _) => debug!(from, to, "missing at this origin, asking the next"),
        (_, Ok(answer)) => {
            warn!(from, to, result = attempt.as_str(), status = answer.status.as_u16(), "failing over");
        }
        (_, Err(error)) if !error.kind.is_retryable() => {
            debug!(from, to, detail = error.detail, "refused by this origin, asking the next");
        }
        (_, Err(error)) => {
            warn!(from, to, result = attempt.as_str(), detail = error.detail, "failing over");
        }
    }
}
