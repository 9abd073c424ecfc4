//! What can be wrong with a query, and whose fault it is.

use thiserror::Error;

use crate::series;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The text is not PromQL.
    #[error("{0}")]
    Parse(String),
    /// It is PromQL, but not what is evaluated here.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The data do not allow it: duplicate series, ambiguous matching.
    #[error("{0}")]
    Execution(String),
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples { limit: usize },
    #[error("a selector of the query finds more than the {limit} series allowed")]
    TooManySeries { limit: usize },
    #[error("query timed out in expression evaluation")]
    Expired,
}

impl From<series::Error> for Error {
    fn from(error: series::Error) -> Self {
        match error {
            series::Error::TooManySamples { limit } => Self::TooManySamples { limit },
            other => Self::Parse(other.to_string()),
        }
    }
}
