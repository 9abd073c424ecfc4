//! Times in journals and answers: RFC 3339, which both people and `replay` read.

use millrace_kit::clock::UnixMillis;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

use crate::model::time::{parse_rfc3339, rfc3339};

pub(super) fn serialize<S: Serializer>(at: &UnixMillis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMillis, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_rfc3339(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not a time")))
}

/// Of a time that may not be there.
pub(super) mod optional {
    use super::*;

    pub(in crate::scaling) fn serialize<S: Serializer>(
        at: &Option<UnixMillis>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::scaling) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UnixMillis>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let parse = |text: String| {
            parse_rfc3339(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not a time")))
        };
        text.map(parse).transpose()
    }
}
