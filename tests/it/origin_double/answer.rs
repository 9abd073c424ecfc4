//! One scripted answer: what is sent, how it is framed, how slowly, and where it goes wrong.

use std::{ops::Range, sync::Arc, time::Duration};

use super::{Gate, pattern};

#[derive(Clone)]
pub(crate) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) content: Content,
    pub(super) framing: Framing,
    pub(super) ranges: bool,
    pub(super) date: bool,
    pub(super) close: bool,
    pub(super) interim: Vec<(u16, Vec<(String, String)>)>,
    pub(super) latency: Duration,
    pub(super) first_byte_delay: Duration,
    pub(super) chunk_delay: Duration,
    pub(super) chunk_bytes: usize,
    pub(super) gate: Option<Gate>,
    pub(super) body_gates: Vec<(u64, Gate)>,
    pub(super) fault: Option<(u64, Fault)>,
    pub(super) times: Option<usize>,
}

#[derive(Clone)]
pub(super) enum Content {
    Bytes(Arc<[u8]>),
    Pattern {
        len: u64,
        seed: u64,
    },
    /// Written as they stand instead of an answer; then the connection is closed.
    Raw(Arc<[u8]>),
    /// Nothing is ever written.
    Silence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    ContentLength,
    WrongContentLength(u64),
    Chunked,
    UntilClose,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is closed in order.
    Cut,
    /// The connection is reset.
    Reset,
    /// Nothing more comes, and the connection stays open until the client leaves.
    Stall,
}

impl Answer {
    fn new(status: u16, content: Content) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content,
            framing: Framing::ContentLength,
            ranges: true,
            date: true,
            close: false,
            interim: Vec::new(),
            latency: Duration::ZERO,
            first_byte_delay: Duration::ZERO,
            chunk_delay: Duration::ZERO,
            chunk_bytes: 64 * 1024,
            gate: None,
            body_gates: Vec::new(),
            fault: None,
            times: None,
        }
    }

    /// 200 with this body. `Range`, `If-Range`, `If-None-Match`, `If-Modified-Since` and HEAD are heeded, as the fields
    /// `etag` and `last-modified` given here allow.
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, Content::Bytes(body.into().into()))
    }

    /// An empty body with this status.
    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, Content::Bytes(Arc::new([])))
    }

    /// 200 with `len` bytes of the pattern of `seed`, made while they are sent.
    pub(crate) fn pattern(len: u64, seed: u64) -> Self {
        Self::new(200, Content::Pattern { len, seed })
    }

    /// These bytes on the wire, then an orderly close. For answers that are no HTTP.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(200, Content::Raw(bytes.into().into()))
    }

    /// Takes the request and never answers.
    pub(crate) fn silence() -> Self {
        Self::new(200, Content::Silence)
    }

    /// Takes the request and closes the connection.
    pub(crate) fn hang_up() -> Self {
        Self::raw([])
    }

    /// Switches the handling of ranges and conditions off, unless it is 200.
    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Appends a field; fields of framing are sent beside those the double makes.
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        self.header_bytes(name, value.as_bytes())
    }

    pub(crate) fn header_bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.headers.push((name.to_owned(), value.to_vec()));
        self
    }

    pub(crate) fn etag(self, etag: &str) -> Self {
        self.header("etag", etag)
    }

    pub(crate) fn cache_control(self, value: &str) -> Self {
        self.header("cache-control", value)
    }

    pub(crate) fn content_type(self, value: &str) -> Self {
        self.header("content-type", value)
    }

    /// `Range` is ignored and `Accept-Ranges` not sent.
    pub(crate) fn no_ranges(mut self) -> Self {
        self.ranges = false;
        self
    }

    /// No `Date` but the one given with `header`.
    pub(crate) fn no_date(mut self) -> Self {
        self.date = false;
        self
    }

    /// Before the head is sent.
    pub(crate) fn latency(mut self, pause: Duration) -> Self {
        self.latency = pause;
        self
    }

    /// Between head and body.
    pub(crate) fn first_byte_delay(mut self, pause: Duration) -> Self {
        self.first_byte_delay = pause;
        self
    }

    /// After each chunk of `chunk_bytes`.
    pub(crate) fn chunk_delay(mut self, pause: Duration) -> Self {
        self.chunk_delay = pause;
        self
    }

    /// Bytes per write, and per chunk with `chunked`; 64 KiB if not given.
    pub(crate) fn chunk_bytes(mut self, bytes: usize) -> Self {
        assert!(bytes > 0);
        self.chunk_bytes = bytes;
        self
    }

    /// Closes the connection in place of the content's byte `at`. Offsets of faults and gates count from the start of
    /// the content; a range that lies elsewhere is not touched.
    pub(crate) fn cut_at(self, at: u64) -> Self {
        self.fault(at, Fault::Cut)
    }

    /// Resets the connection in place of byte `at`. A reset may take bytes with it that the client has not read yet.
    pub(crate) fn reset_at(self, at: u64) -> Self {
        self.fault(at, Fault::Reset)
    }

    /// Sends nothing from byte `at` on.
    pub(crate) fn stall_at(self, at: u64) -> Self {
        self.fault(at, Fault::Stall)
    }

    fn fault(mut self, at: u64, fault: Fault) -> Self {
        self.fault = Some((at, fault));
        self
    }

    /// Holds the answer's head back.
    pub(crate) fn gate(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Sends head and content up to byte `at`, then waits.
    pub(crate) fn gate_at(mut self, at: u64, gate: &Gate) -> Self {
        self.body_gates.push((at, gate.clone()));
        self.body_gates.sort_by_key(|(at, _)| *at);
        self
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// Neither `Content-Length` nor chunks: the body ends with the connection.
    pub(crate) fn until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self
    }

    /// Declares `len` and sends the content as it is, then closes.
    pub(crate) fn wrong_content_length(mut self, len: u64) -> Self {
        self.framing = Framing::WrongContentLength(len);
        self
    }

    /// An answer before the answer, 103 for instance.
    pub(crate) fn interim(mut self, status: u16, fields: &[(&str, &str)]) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.interim.push((status, fields));
        self
    }

    /// Says `Connection: close` and does it.
    pub(crate) fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Used for so many requests; then the next answer scripted for the path takes over.
    pub(crate) fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    pub(super) fn field(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pattern { len, .. } => *len,
            Self::Raw(_) | Self::Silence => 0,
        }
    }

    /// Puts the bytes of `range` into `buffer`.
    pub(super) fn copy(&self, range: Range<u64>, buffer: &mut Vec<u8>) {
        buffer.resize((range.end - range.start) as usize, 0);
        match self {
            Self::Bytes(bytes) => buffer.copy_from_slice(&bytes[range.start as usize..range.end as usize]),
            Self::Pattern { seed, .. } => pattern::fill(*seed, range.start, buffer),
            Self::Raw(_) | Self::Silence => {}
        }
    }
}
