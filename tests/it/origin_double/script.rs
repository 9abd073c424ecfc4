//! Which answer is next for a target.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Answer, RecordedRequest};

/// Key of the answers for targets that have none of their own. No target is empty.
pub(super) const ANY: &str = "";

type Compute = Arc<dyn Fn(&RecordedRequest) -> Answer + Send + Sync>;

#[derive(Default)]
pub(super) struct Script {
    lines: Mutex<HashMap<String, Line>>,
}

enum Line {
    Answers(VecDeque<Answer>),
    Computed(Compute),
}

impl Script {
    pub(super) fn push(&self, path: &str, answer: Answer) {
        let mut lines = self.lines.lock();
        match lines.get_mut(path) {
            Some(Line::Answers(answers)) => {
                if answers.back().is_some_and(|last| last.times.is_none()) {
                    answers.pop_back();
                }
                answers.push_back(answer);
            }
            _ => {
                lines.insert(path.to_owned(), Line::Answers([answer].into()));
            }
        }
    }

    pub(super) fn compute(&self, path: &str, compute: Compute) {
        self.lines.lock().insert(path.to_owned(), Line::Computed(compute));
    }

    /// The most specific line that has an answer left.
    pub(super) fn next(&self, request: &RecordedRequest) -> Answer {
        let path = request.target.split('?').next().unwrap_or_default();
        for key in [request.target.as_str(), path, ANY] {
            let computed = {
                let mut lines = self.lines.lock();
                match lines.get_mut(key) {
                    None => continue,
                    Some(Line::Answers(answers)) => match take(answers) {
                        Some(answer) => return answer,
                        None => continue,
                    },
                    Some(Line::Computed(compute)) => Arc::clone(compute),
                }
            };
            return computed(request);
        }
        Answer::empty(404)
    }
}

fn take(answers: &mut VecDeque<Answer>) -> Option<Answer> {
    while let Some(first) = answers.front_mut() {
        match &mut first.times {
            None => return Some(first.clone()),
            Some(0) => {
                answers.pop_front();
            }
            Some(left) => {
                *left -= 1;
                return Some(first.clone());
            }
        }
    }
    None
}
