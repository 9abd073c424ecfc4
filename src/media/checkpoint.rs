//! Points in a job at which it may be told to stop: nobody waits for it any more, or its time is used up. Codecs cannot be
//! interrupted, so a job asks between its steps, on the thread that it runs on.

use std::{
    cell::RefCell,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Why a job stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Stop {
    #[error("nobody waits for it any more")]
    Abandoned,
    #[error("its time is used up")]
    OutOfTime,
}

/// What is known of one job from outside of it.
#[derive(Debug)]
pub struct Token {
    abandoned: AtomicBool,
    begun: OnceLock<Instant>,
    /// From when it begins to run; None: as long as it takes.
    budget: Option<Duration>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Token>>> = const { RefCell::new(None) };
}

impl Token {
    pub fn new(budget: Option<Duration>) -> Arc<Self> {
        Arc::new(Self { abandoned: AtomicBool::new(false), begun: OnceLock::new(), budget })
    }

    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Whether the job has begun to run.
    pub fn has_begun(&self) -> bool {
        self.begun.get().is_some()
    }

    /// Runs `job` on this thread, as the job that this token is of.
    pub fn run<T>(self: &Arc<Self>, job: impl FnOnce() -> T) -> T {
        /// Also when the job panics.
        struct Reset(Option<Arc<Token>>);
        impl Drop for Reset {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        self.begun.get_or_init(Instant::now);
        let _reset = Reset(CURRENT.replace(Some(self.clone())));
        job()
    }

    fn check(&self) -> Result<(), Stop> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(Stop::Abandoned);
        }
        match (self.budget, self.begun.get()) {
            (Some(budget), Some(begun)) if begun.elapsed() > budget => Err(Stop::OutOfTime),
            _ => Ok(()),
        }
    }
}

/// Whether the job on this thread may go on. What is not a job may.
pub fn pass() -> Result<(), Stop> {
    CURRENT.with_borrow(|current| current.as_ref().map_or(Ok(()), |token| token.check()))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn jobs_are_told_to_stop() {
        assert_eq!(pass(), Ok(()));
        let token = Token::new(None);
        assert!(!token.has_begun());
        token.run(|| assert_eq!(pass(), Ok(())));
        assert!(token.has_begun());
        token.abandon();
        token.run(|| assert_eq!(pass(), Err(Stop::Abandoned)));
        Token::new(Some(Duration::ZERO)).run(|| {
            let begun = Instant::now();
            while begun.elapsed().is_zero() {}
            assert_eq!(pass(), Err(Stop::OutOfTime));
        });
        assert_eq!(pass(), Ok(()), "this thread's next job is another one");
    }

    #[test]
    fn a_panic_does_not_leave_its_token_behind() {
        let token = Token::new(None);
        token.abandon();
        assert!(catch_unwind(AssertUnwindSafe(|| token.run(|| panic!("boom")))).is_err());
        assert_eq!(pass(), Ok(()));
    }
}
