//! Whether requests come one after the other. actix reads ahead, and keeps one flag for all it has read: whether the last was
//! HEAD. By that it decides whether an answer has a body, so answers to requests that were read ahead of their turn, or may have
//! others read ahead behind them, have to be framed without its help.
//!
//! And whether actix has something of a request left: it may be passed by only when it has not.

use std::cell::Cell;

/// Of one connection.
#[derive(Debug, Default)]
pub struct Order {
    /// Times that something was read, and how many of them the last request knew of.
    reads: Cell<u64>,
    known: Cell<u64>,
    /// A request is being answered.
    busy: Cell<bool>,
    /// Something was read meanwhile.
    ahead: Cell<bool>,
    above: Cell<Above>,
}

/// What was read at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// One whole request without a body.
    Request,
    Other,
}

/// What actix has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Above {
    /// Nothing yet: its time-out for the first request runs until it has had one.
    #[default]
    New,
    /// One request.
    Request,
    /// The answer to it, not all of which is written.
    Answer,
    /// Nothing, as far as can be told: all it was given has been answered, and written.
    Nothing,
    /// That cannot be told any more.
    Unknown,
}

impl Order {
    /// Actix gets this.
    pub fn has_read(&self, piece: Piece) {
        self.above.set(match (self.above.get(), piece) {
            (Above::New | Above::Nothing, Piece::Request) => Above::Request,
            _ => Above::Unknown,
        });
        self.reads.set(self.reads.get().wrapping_add(1));
        if self.busy.get() {
            self.ahead.set(true);
        }
    }

    /// A request's turn. True: it may have waited for it, others behind it.
    pub fn begin(&self) -> bool {
        let reads = self.reads.get();
        let waited = self.known.replace(reads) == reads;
        self.busy.set(true);
        self.ahead.replace(false) || waited
    }

    /// Its answer is over.
    pub fn end(&self) {
        self.busy.set(false);
        if self.above.get() == Above::Request {
            self.above.set(Above::Answer);
        }
    }

    /// All that actix had to write is written.
    pub fn has_written(&self) {
        if self.above.get() == Above::Answer {
            self.above.set(Above::Nothing);
        }
    }

    /// Whether actix has nothing to do. It comes to that as long as it gets requests one by one.
    pub fn is_idle(&self) -> bool {
        self.above.get() == Above::Nothing
    }

    /// Whether there is a use in telling what was read: what comes next may be all there is.
    pub fn can_be_told(&self) -> bool {
        matches!(self.above.get(), Above::New | Above::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_were_read_ahead_are_known() {
        let order = Order::default();
        for _ in 0..2 {
            order.has_read(Piece::Other);
            assert!(!order.begin());
            order.end();
        }
        // Two at once.
        order.has_read(Piece::Other);
        assert!(!order.begin());
        order.end();
        assert!(order.begin());
        // Two more, while one is answered.
        order.has_read(Piece::Other);
        order.end();
        assert!(order.begin());
        order.end();
        assert!(order.begin());
        order.end();
        order.has_read(Piece::Other);
        assert!(!order.begin());
    }
    #[test]
    fn nobody_is_passed_by_who_has_something_left() {
        let order = Order::default();
        assert!(!order.is_idle(), "no request yet");
        for _ in 0..2 {
            order.has_read(Piece::Request);
            order.has_written();
            assert!(!order.is_idle(), "no answer");
            order.end();
            assert!(!order.is_idle(), "not written");
            order.has_written();
            assert!(order.is_idle());
        }
        for pieces in
            [&[Piece::Other][..], &[Piece::Request, Piece::Request], &[Piece::Request, Piece::Other]]
        {
            let order = Order::default();
            pieces.iter().for_each(|piece| order.has_read(*piece));
            for _ in pieces {
                order.end();
                order.has_written();
            }
            assert!(!order.is_idle(), "{pieces:?}");
        }
    }
}
