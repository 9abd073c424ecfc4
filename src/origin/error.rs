//! Why an origin could not answer: whose fault it is and whether another attempt can help.

use std::{sync::Arc, time::Duration};

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    Client,
    Upstream,
    Internal,
}

/// The word that stands in logs, metric labels and `Cache-Status` details alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Connection refused, unreachable or not made in time.
    Connect,
    /// Its name leads nowhere.
    Dns,
    /// The connection could not be secured: its certificate is not to be trusted, or it does not speak TLS.
    Tls,
    /// The name leads to an address that is not public.
    PrivateAddress,
    /// So much is being asked of it already that this request found no place.
    Saturated,
    /// No answer head within the first-byte time-out.
    FirstByteTimeout,
    /// The body stalled for longer than the idle time-out.
    IdleTimeout,
    /// The whole exchange took longer than it may.
    TotalTimeout,
    /// The body came, but below the least rate.
    TooSlow,
    /// The connection broke.
    BrokenBody,
    /// The body ended in order, short of its declared length or of its last chunk.
    ShortBody,
    /// More came than was declared.
    LongBody,
    /// Chunks that are none.
    BadFraming,
    /// The answer is not valid HTTP, or contradicts itself.
    BadResponse,
    /// The path may not be asked of this origin (traversal, outside the root).
    Forbidden,
    /// Reading a local file failed.
    Io,
    /// The origin does not let us in, or knows no such place: credentials, clock, bucket or region are wrong.
    Refused,
    /// The origin says that it cannot answer now.
    Unavailable,
    /// It was not asked: it has failed too often of late.
    BreakerOpen,
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("origin {origin}: {kind}: {detail}", kind = self.kind.as_str())]
pub struct Error {
    pub origin: Arc<str>,
    pub kind: ErrorKind,
    /// For logs only; may name internal addresses.
    pub detail: String,
    /// When asking again may help, as far as is known.
    pub retry_after: Option<Duration>,
}

/// An origin that cannot be set up as configured. Found before any request is sent.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("origin {origin}: {path} is not a readable directory: {detail}")]
    NotADirectory { origin: Arc<str>, path: String, detail: String },
    #[error("origin {origin}: the base URL {problem}")]
    BaseUrl { origin: Arc<str>, problem: &'static str },
    #[error("origin {origin}: {field} is not a valid field value")]
    FieldValue { origin: Arc<str>, field: &'static str },
    /// For HTTPS, above all: the machine has no CA certificates.
    #[error("origin {origin}: the HTTP client cannot be built: {detail}")]
    Client { origin: Arc<str>, detail: String },
}

impl Error {
    pub fn new(origin: &Arc<str>, kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { origin: Arc::clone(origin), kind, detail: detail.into(), retry_after: None }
    }
}

impl ErrorKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::PrivateAddress => "private_address",
            Self::Saturated => "saturated",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::TooSlow => "too_slow",
            Self::BrokenBody => "broken_body",
            Self::ShortBody => "short_body",
            Self::LongBody => "long_body",
            Self::BadFraming => "bad_framing",
            Self::BadResponse => "bad_response",
            Self::Forbidden => "forbidden",
            Self::Io => "io",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::BreakerOpen => "breaker_open",
        }
    }

    pub fn fault(self) -> Fault {
        match self {
            Self::Forbidden => Fault::Client,
            Self::Io => Fault::Internal,
            _ => Fault::Upstream,
        }
    }

    /// Whether the same request may succeed when sent again, here or elsewhere.
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::Forbidden)
    }

    /// Whether the same origin is worth another attempt at once. A time-out has cost enough already; an open breaker and a
    /// full queue are there to keep us from asking; and who is refused now will be refused again.
    pub(super) fn is_worth_repeating(self) -> bool {
        let waited =
            matches!(self, Self::FirstByteTimeout | Self::IdleTimeout | Self::TotalTimeout | Self::TooSlow);
        let kept_away = matches!(self, Self::BreakerOpen | Self::Saturated);
        let settled = matches!(self, Self::Refused | Self::PrivateAddress | Self::Tls);
        self.is_retryable() && !waited && !kept_away && !settled
    }
}
