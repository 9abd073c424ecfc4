//! An image variant as something that answers like an origin.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{
    super::{Core, fill::Ask},
    Derived, Refusal, confirm, derived_fields,
    source::{Address, SourceError, Want, as_origin_error},
    whole,
};
use crate::{
    media::image::{self, Encoded, Params},
    origin,
};

pub struct ImageVariant {
    pub core: Arc<Core>,
    pub source: Address,
    pub params: Params,
}

impl Derived for ImageVariant {
    async fn make(&self, ask: &Ask) -> Result<origin::Response, SourceError> {
        let source = self.core.source(&self.source, Want::All, &ask.born).await?;
        let limits = self.core.media.config.limits;
        if source.length() > limits.max_source_bytes {
            let detail = format!(
                "the source is {} bytes long, the limit for images is {}",
                source.length(),
                limits.max_source_bytes
            );
            return Err(refused(StatusCode::UNPROCESSABLE_ENTITY, "image_too_large", detail));
        }
        let params = self.params;
        let now = self.core.clock().unix_millis();
        let content_type = params.format().content_type();
        let mut fields =
            derived_fields(source.head(), &format!("image:{}", params.canonical()), content_type, now);
        if let Some(confirmed) = confirm(ask, &fields) {
            return Ok(confirmed);
        }
        let _room = self.core.media.room_for(source.length()).await.map_err(SourceError::Refused)?;
        let bytes = source.read_all().await.map_err(|error| SourceError::Origin(as_origin_error(&error)))?;
        let encoded = self
            .core
            .media
            .run("image", move || image::transform(&bytes, &params, &limits).map_err(refusal))
            .await
            .map_err(SourceError::Refused)?;
        // Which format it became may depend on the picture.
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(encoded.content_type));
        if let Ok(timing) = HeaderValue::try_from(server_timing(&encoded)) {
            fields.insert(HeaderName::from_static("server-timing"), timing);
        }
        Ok(whole(StatusCode::OK, fields, encoded.bytes))
    }
}

fn server_timing(encoded: &Encoded) -> String {
    let steps =
        encoded.steps.iter().map(|(step, took)| format!("{step};dur={:.2}", took.as_secs_f64() * 1000.0));
    steps.collect::<Vec<_>>().join(", ")
}

pub(super) fn refusal(error: image::Error) -> Refusal {
    let status = match error.fault() {
        image::Fault::Client => StatusCode::BAD_REQUEST,
        image::Fault::Source => StatusCode::UNPROCESSABLE_ENTITY,
        image::Fault::Internal => {
            tracing::error!("{error}");
            return Refusal::internal(error.as_str());
        }
    };
    Refusal::new(status, error.as_str(), error.to_string())
}

fn refused(status: StatusCode, reason: &'static str, detail: String) -> SourceError {
    SourceError::Refused(Refusal::new(status, reason, detail))
}
