//! A request and an answer as the rules see them: what they decide, and what they would decide if something were
//! different.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use millrace_kit::clock::UnixMillis;

use super::super::{
    fill::{AnswerThen, Fills},
    policy::{Policy, PolicyRules},
};
use crate::{
    cache::{
        Freshness, Head,
        control::{RequestControl, ResponseControl},
        freshness::{Computation, Verdict},
        storable::{Asked, Hear, Refusal},
        validator,
        vary::VarySpec,
    },
    origin,
};

#[derive(Clone)]
pub struct Case {
    pub policy: Arc<Policy>,
    pub method: Method,
    pub request: HeaderMap,
    pub status: StatusCode,
    pub answer: HeaderMap,
    pub length: Option<u64>,
    /// When the origin was asked, and when it answered.
    pub times: (UnixMillis, UnixMillis),
    pub now: UnixMillis,
    /// Whether it may be stored is settled.
    pub stored: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    Refused(Refusal),
    Judged(Verdict),
}

impl Case {
    /// Of what is stored.
    pub fn of_head(
        policy: &Arc<Policy>,
        method: &Method,
        request: &HeaderMap,
        head: &Head,
        now: UnixMillis,
    ) -> Self {
        let mut case = Self {
            policy: policy.clone(),
            method: method.clone(),
            request: request.clone(),
            status: head.status,
            answer: head.fields.to_header_map(),
            length: Some(head.length),
            times: (head.request_time, head.freshness.response_time),
            now,
            stored: true,
        };
        // `Age` is not stored; it shows in the age that the answer came with.
        let brought = head.freshness.initial_age;
        if brought > case.compute().freshness.initial_age {
            case.answer.insert(header::AGE, HeaderValue::from(brought / 1000));
        }
        case
    }

    /// Of an answer that is remembered, at the moment it came.
    pub fn of_answer(
        policy: &Arc<Policy>,
        method: &Method,
        request: &HeaderMap,
        answer: &AnswerThen,
    ) -> Self {
        Self {
            policy: policy.clone(),
            method: method.clone(),
            request: request.clone(),
            status: answer.status,
            answer: answer.fields.to_header_map(),
            length: answer.length,
            times: answer.times,
            now: answer.times.1,
            stored: false,
        }
    }

    pub fn control(&self) -> ResponseControl {
        ResponseControl::parse(&self.answer)
    }

    /// Whether requests cannot be told apart by what it varies by.
    pub fn varies_too_widely(&self) -> bool {
        VarySpec::of(&self.answer).with(self.policy.rules.fields.nominated()).is_too_wide()
    }

    pub fn compute(&self) -> Computation {
        let computed = self.said();
        let freshness = self.policy.rules.lifetimes.bound(self.whole_status(), computed.freshness);
        Computation { freshness, ..computed }
    }

    /// The same without the bounds of its route.
    pub fn said(&self) -> Computation {
        let (asked, came) = self.times;
        Freshness::compute(self.whole_status(), &self.answer, &self.control(), asked, came)
    }

    /// Whether it is longer than its route lets be stored.
    pub fn is_too_long(&self) -> bool {
        self.length.is_some_and(|length| length > self.policy.rules.storing.max_length)
    }

    /// As if its route had other rules.
    pub fn edit_rules(&mut self, edit: impl FnOnce(&mut PolicyRules)) {
        let mut policy = Policy::clone(&self.policy);
        edit(&mut policy.rules);
        self.policy = Arc::new(policy);
    }

    /// A part under a strong validator counts as the whole.
    fn whole_status(&self) -> StatusCode {
        match self.status {
            StatusCode::PARTIAL_CONTENT if validator::strong(&self.answer).is_some() => StatusCode::OK,
            status => status,
        }
    }

    /// What the rules say. `hear` is told what the verdict on storing stands on.
    pub fn rule(&self, fills: &Fills, hear: Hear<'_>) -> Ruling {
        let control = RequestControl::parse(&self.request);
        if !self.stored {
            let asked = Asked {
                method: &self.method,
                control: &control,
                authorization: self.request.contains_key(header::AUTHORIZATION),
                cookie: self.request.contains_key(header::COOKIE),
            };
            let response = origin::Response {
                status: self.status,
                headers: self.answer.clone(),
                content_length: self.length,
                body: stream::empty().boxed(),
                origin: Arc::from(""),
            };
            if let Err(refusal) = fills.may_store(&self.policy, &asked, &response, self.times.1, hear) {
                return Ruling::Refused(refusal);
            }
        }
        let lifetimes = &self.policy.rules.lifetimes;
        Ruling::Judged(lifetimes.judge(&self.compute().freshness, &self.control(), &control, self.now))
    }

    pub fn is_hit(&self, fills: &Fills) -> bool {
        let control = RequestControl::parse(&self.request);
        let looked_up = matches!(self.method, Method::GET | Method::HEAD) && !control.no_store;
        looked_up && self.rule(fills, &mut |_, _| {}) == Ruling::Judged(Verdict::Fresh)
    }
}
