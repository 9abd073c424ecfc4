//! Settings for other eyes than the operator's.

use millrace_kit::secret::HIDDEN;
use serde_json::Value;
use url::Url;

use super::Raw;

/// All of them, but for secrets and the passwords of addresses.
pub fn shown(raw: &Raw) -> Value {
    let mut value = serde_json::to_value(raw).unwrap_or(Value::Null);
    hide_passwords(&mut value);
    value
}

fn hide_passwords(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(hide_passwords),
        Value::Array(items) => items.iter_mut().for_each(hide_passwords),
        Value::String(text) if text.contains("://") && text.contains('@') => {
            let url = Url::parse(text).ok().filter(|url| url.password().is_some());
            if let Some(mut url) = url
                && url.set_password(Some(HIDDEN)).is_ok()
            {
                *text = url.into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::{Origin, Secret};

    #[test]
    fn no_secret_is_shown() {
        let mut raw = Raw::default();
        raw.access.secret = Secret("hunter2-access".to_owned());
        raw.admin.token = Secret("hunter2-admin".to_owned());
        raw.media.signing_keys = Secret("hunter2-images".to_owned());
        raw.uploads.database = Secret("postgres://millrace:hunter2-database@db.example/millrace".to_owned());
        let mut origin =
            Origin { url: "https://me:hunter2-url@a.example/x".to_owned(), ..Default::default() };
        origin.s3.secret_access_key = Secret("hunter2-s3".to_owned());
        origin.s3.session_token = Secret("hunter2-session".to_owned());
        origin.request_headers.insert("Authorization".to_owned(), Secret("hunter2-field".to_owned()));
        raw.origins.push(origin);
        let told = shown(&raw).to_string();
        assert!(!told.contains("hunter2"), "{told}");
        assert_eq!(told.matches("hidden").count(), 8, "{told}");
        assert!(told.contains("a.example/x"), "{told}");
    }
}
