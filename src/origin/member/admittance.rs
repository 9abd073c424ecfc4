//! Whether an origin may be asked now, and how it is found out that it may be asked again: by probes in the background, so that no
//! viewer has to come for that, or to wait for an address that is dead.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Method, header};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use super::{
    super::{
        Repetition, Request,
        breaker::{Admission, NextProbe, State, Ticket},
        chain::Question,
        line::Standing,
    },
    Member,
};

/// How probes are made, and who waits for them.
#[derive(Default)]
pub(super) struct Probes {
    /// Somebody sees to them.
    attended: AtomicBool,
    /// What it did not give when it was last asked, or was kept from being asked.
    wanted: Mutex<Option<(String, HeaderMap)>>,
    /// One has come back, or the breaker has changed.
    news: Notify,
}

impl Probes {
    pub(super) fn tell(&self) {
        self.news.notify_waiters();
    }
}

impl Member {
    /// Whether it may be asked; `alternative`: there is another origin to go to.
    pub(in super::super) fn admit(&self, alternative: bool) -> Admission {
        let admission = self.judge(alternative);
        if matches!(admission, Admission::No { .. } | Admission::Later { .. }) {
            self.count_turned_away();
        }
        admission
    }

    /// The same for a request that has nowhere else to go. It waits for the next probe, should nobody be let through, and for its
    /// turn while the origin recovers.
    pub(in super::super) async fn admit_in_turn(&self) -> Admission {
        if self.refresh_breaker() == State::Closed {
            return self.admit(false);
        }
        let Some(standing) = self.line.join() else { return self.admit(false) };
        match self.after_probe(&standing).await {
            Some(probe) => Admission::Probe(probe),
            None => self.in_turn(&standing).await,
        }
    }

    /// Whether it may be asked something a second time, while the first request is under way. Nobody is sent to an origin
    /// in trouble for that.
    pub(in super::super) fn admit_hedge(&self) -> Option<Ticket> {
        if self.refresh_breaker() != State::Closed || !self.may_repeat(Repetition::Hedge) {
            return None;
        }
        match self.admit(true) {
            Admission::Go(ticket) => Some(ticket),
            _ => None,
        }
    }

    /// Returns when it is known what has become of the next probe, when there will be none in time, or with the probe itself.
    async fn after_probe(&self, standing: &Standing<'_>) -> Option<Ticket> {
        loop {
            let mut news = pin!(self.probes.news.notified());
            news.as_mut().enable();
            let until = match self.breaker.next_probe()? {
                NextProbe::UnderWay => standing.deadline,
                NextProbe::Due(at) if at > standing.deadline => return None,
                NextProbe::Due(at) => at,
            };
            if until <= Instant::now() {
                match self.breaker.take_probe() {
                    Some(probe) => return Some(probe),
                    None if until == standing.deadline => return None,
                    None => continue,
                }
            }
            if timeout_at(until, news).await.is_ok() {
                return None;
            }
        }
    }

    async fn in_turn(&self, standing: &Standing<'_>) -> Admission {
        if self.refresh_breaker() != State::HalfOpen {
            return self.admit(false);
        }
        let Some(_head) = standing.head().await else { return self.admit(false) };
        loop {
            match self.judge(false) {
                Admission::Later { retry_after } if Instant::now() + retry_after <= standing.deadline => {
                    sleep(retry_after).await;
                }
                let_through @ (Admission::Go(_) | Admission::Probe(_)) => return let_through,
                refused => {
                    self.count_turned_away();
                    return refused;
                }
            }
        }
    }

    fn judge(&self, alternative: bool) -> Admission {
        if let (true, Some(health)) = (self.is_held(), &self.config.health) {
            return Admission::No { thin: false, retry_after: health.interval * health.rise };
        }
        let (admission, change) = self.breaker.admit(alternative);
        self.note(change);
        admission
    }

    fn refresh_breaker(&self) -> State {
        let (state, change) = self.breaker.state();
        self.note(change);
        state
    }

    /// Whether health checks keep everybody away, and it is theirs to find out when they need not.
    fn is_held(&self) -> bool {
        self.general.as_ref().is_some_and(|(general, _)| general.breaker.is_held_open())
            || self.breaker.is_held_open()
    }

    /// Whether nothing speaks against asking it.
    pub(in super::super) fn is_trusted(&self) -> bool {
        !self.is_held() && self.refresh_breaker() == State::Closed
    }

    /// Finds out in the background whether it answers again, while the question goes elsewhere.
    pub(in super::super) fn probe(self: &Arc<Self>, question: &Question, ticket: Ticket) -> bool {
        let Some(tasks) = &self.tasks else { return false };
        // A client hears what comes before an answer from whoever gives the answer.
        let (member, request) = (self.clone(), Request { interims: None, ..question.ask() });
        tasks.spawn_until_stop("probe", async move {
            // Only the head is wanted; the body is let go.
            let _ = member.ask(request, ticket).await;
        });
        true
    }

    /// What probes may ask for, as somebody wants it. Nobody's credentials are kept for that.
    pub(in super::super) fn note_wanted(&self, question: &Question) {
        let Request { method, target, mut headers, .. } = question.ask();
        if method == Method::GET && self.tasks.is_some() {
            for name in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE] {
                headers.remove(name);
            }
            *self.probes.wanted.lock() = Some((target, headers));
        }
    }

    /// Sees to it that the breaker closes again, whether anybody asks or not.
    pub(super) fn attend(self: &Arc<Self>) {
        let Some(tasks) = &self.tasks else { return };
        if self.breaker.wakes_at().is_none() || self.is_retired() {
            return;
        }
        if !self.probes.attended.swap(true, Ordering::SeqCst) {
            tasks.spawn_until_stop("probes", self.clone().probe_until_closed());
        }
    }

    fn probe_until_closed(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move {
            loop {
                while let Some(at) = self.breaker.wakes_at() {
                    sleep_until(at).await;
                    if self.is_retired() {
                        return;
                    }
                    if self.is_held() {
                        sleep(self.config.breaker.open_max).await;
                        continue;
                    }
                    self.refresh_breaker();
                    if let Some(ticket) = self.breaker.take_probe() {
                        // Only the head is wanted; the body is let go.
                        let _ = self.ask(self.probing_request(), ticket).await;
                    }
                }
                self.probes.wanted.lock().take();
                self.probes.attended.store(false, Ordering::SeqCst);
                // It may have opened between the last look and the word that nobody attends to it.
                if self.breaker.wakes_at().is_none() || self.probes.attended.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        }
        .boxed()
    }

    /// What was wanted last; without that the root, whose answer is good whatever it says but for errors of the origin.
    fn probing_request(&self) -> Request {
        match self.probes.wanted.lock().clone() {
            Some((target, headers)) => Request { headers, ..Request::new(Method::GET, target) },
            None => Request::new(Method::HEAD, "/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use millrace_kit::tasks::Tasks;

    use super::*;
    use crate::origin::{directory, member::Config};

    #[tokio::test]
    async fn probes_ask_for_what_was_wanted_last_in_nobodys_name() {
        let directory = directory::Config::new("here", env!("CARGO_MANIFEST_DIR"));
        let origin = Arc::new(directory::Directory::new(directory).unwrap());
        let member = Member::new(origin, Config::default()).with_tasks(Tasks::new());
        let told = |request: Request| (request.method.to_string(), request.target, request.headers.len());
        assert_eq!(told(member.probing_request()), ("HEAD".into(), "/".into(), 0));
        let question = |method, target: &str| {
            let mut request = Request::new(method, target);
            for name in [header::AUTHORIZATION, header::COOKIE, header::ACCEPT] {
                request.headers.insert(name, HeaderValue::from_static("x"));
            }
            Question::from(request)
        };
        member.note_wanted(&question(Method::GET, "/a"));
        member.note_wanted(&question(Method::GET, "/b"));
        member.note_wanted(&question(Method::OPTIONS, "/c"));
        assert_eq!(told(member.probing_request()), ("GET".into(), "/b".into(), 1));
    }
}
