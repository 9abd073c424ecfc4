//! Whether requests come one after the other. actix reads ahead, and keeps one flag for all it has read: whether the last was
//! HEAD. By that it decides whether an answer has a body, so answers to requests that were read ahead of their turn, or may have
//! others read ahead behind them, have to be framed without its help.

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
}

impl Order {
    pub fn has_read(&self) {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_were_read_ahead_are_known() {
        let order = Order::default();
        for _ in 0..2 {
            order.has_read();
            assert!(!order.begin());
            order.end();
        }
        // Two at once.
        order.has_read();
        assert!(!order.begin());
        order.end();
        assert!(order.begin());
        // Two more, while one is answered.
        order.has_read();
        order.end();
        assert!(order.begin());
        order.end();
        assert!(order.begin());
        order.end();
        order.has_read();
        assert!(!order.begin());
    }
}
