//! An image variant as something that answers like an origin.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{
    super::{Core, fill::Ask},
    Derived, Refusal, confirm, derived_fields,
    gate::{self, Task},
    source::{Address, Source, SourceError, Want},
    whole,
};
use crate::{
    media::image::{self, Effort, Encoded, Kind, Params},
    origin,
};

pub struct ImageVariant {
    pub core: Arc<Core>,
    pub source: Address,
    pub params: Params,
}

/// What an encoded image took before it was a job that ran.
pub(super) struct Waits {
    /// Until the source was there.
    pub fetch: Duration,
    /// For memory and a thread.
    pub queue: Duration,
}

impl Derived for ImageVariant {
    async fn make(&self, ask: &Ask) -> Result<origin::Response, SourceError> {
        let begun = Instant::now();
        let source = self.core.source(&self.source, Want::All, &ask.born).await?;
        let now = self.core.clock().unix_millis();
        let params = self.params;
        let content_type = params.format().content_type();
        let fields = |params: &Params| derived_fields(source.head(), &operation(params), content_type, now);
        // What is stored may be the better form.
        for stored in [Some(params), params.thorough()].into_iter().flatten() {
            if let Some(confirmed) = confirm(ask, &fields(&stored)) {
                return Ok(confirmed);
            }
        }
        let mut fields = fields(&params);
        let limits = &self.core.media.config.limits;
        if source.length() <= limits.max_source_bytes && params.asks_for_format_only() {
            let beginning = source.beginning(BEGINNING).await.map_err(broken)?;
            if Kind::of(&beginning) == Kind::Svg {
                let bytes = source.read_all().await.map_err(broken)?;
                fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
                return Ok(whole(StatusCode::OK, fields, bytes));
            }
        }
        let task = Task { budget: Some(self.core.media.config.image_timeout), ..Task::awaited("image") };
        let (encoded, mut waits) = encode(&self.core, &source, params, task).await?;
        waits.fetch = begun.elapsed().saturating_sub(waits.queue + worked(&encoded));
        // Which format it became may depend on the picture.
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(encoded.content_type));
        if let Ok(timing) = HeaderValue::try_from(server_timing(&encoded, &waits)) {
            fields.insert(HeaderName::from_static("server-timing"), timing);
        }
        Ok(whole(StatusCode::OK, fields, encoded.bytes))
    }
}

/// In this much of a source the headers stand that say what it is and how large, as a rule.
const BEGINNING: u64 = 64 << 10;

/// The text that tells operations apart: one that takes more effort makes other bytes.
pub(super) fn operation(params: &Params) -> String {
    let effort = match params.effort() {
        Effort::Quick => "",
        Effort::Thorough => ",thorough",
    };
    format!("image:{}{effort}", params.canonical())
}

/// From a source to an image file, through the gate. What is too large is refused as soon as its headers are there.
pub(super) async fn encode(
    core: &Core,
    source: &Source,
    params: Params,
    task: Task,
) -> Result<(Encoded, Waits), SourceError> {
    let (media, limits) = (&core.media, core.media.config.limits);
    if source.length() > limits.max_source_bytes {
        let (length, limit) = (source.length(), limits.max_source_bytes);
        let detail = format!("the source is {length} bytes long, the limit for images is {limit}");
        let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "image_too_large", detail);
        return Err(SourceError::Refused(refusal));
    }
    let begun = Instant::now();
    // Whoever would find the line full does not have to wait for a source first.
    drop(media.enter().map_err(SourceError::Refused)?);
    let beginning = source.beginning(BEGINNING).await.map_err(broken)?;
    match image::weigh(&beginning, &params, &limits) {
        Ok(weight) => admit(weight, media.config.memory_bytes).map_err(SourceError::Refused)?,
        // It may only be cut off.
        Err(image::Error::Corrupt { .. }) => {}
        Err(error) => return Err(SourceError::Refused(refusal(error))),
    }
    drop(beginning);
    // A source that comes slowly holds nobody else up.
    source.arrived().await.map_err(broken)?;
    let place = media.enter().map_err(SourceError::Refused)?;
    let _source = media.room_for_source(&place, source.length()).await.map_err(SourceError::Refused)?;
    let bytes = source.read_all().await.map_err(broken)?;
    let weight =
        image::weigh(&bytes, &params, &limits).map_err(|error| SourceError::Refused(refusal(error)))?;
    admit(weight, media.config.memory_bytes).map_err(SourceError::Refused)?;
    let fetched = Instant::now();
    let _memory = media.room_for_job(&place, weight).await.map_err(SourceError::Refused)?;
    let waited = fetched.elapsed();
    let job = move || image::transform(&bytes, &params, &limits).map_err(refusal);
    let done = media.run(task, job).await.map_err(SourceError::Refused)?;
    for (step, took) in &done.result.steps {
        media.instruments.steps.with_label_values(&[task.operation, step]).observe(took.as_secs_f64());
    }
    let waits = Waits { fetch: fetched - begun, queue: waited + done.queued };
    for (step, took) in [("fetch", waits.fetch), ("queue", waits.queue)] {
        media.instruments.steps.with_label_values(&[task.operation, step]).observe(took.as_secs_f64());
    }
    Ok((done.result, waits))
}

/// What would take more memory than there is for all images is not made at all.
fn admit(weight: u64, limit: u64) -> Result<(), Refusal> {
    if weight <= limit {
        return Ok(());
    }
    let detail = format!("image too large: making it takes {weight} bytes of memory, the limit is {limit}");
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "image_too_large", detail))
}

fn worked(encoded: &Encoded) -> Duration {
    encoded.steps.iter().map(|(_, took)| *took).sum()
}

fn server_timing(encoded: &Encoded, waits: &Waits) -> String {
    let waits = [("fetch", waits.fetch), ("queue", waits.queue)];
    let steps = waits.iter().chain(&encoded.steps);
    let steps = steps.map(|(step, took)| format!("{step};dur={:.2}", took.as_secs_f64() * 1000.0));
    steps.collect::<Vec<_>>().join(", ")
}

fn broken(error: super::super::fill::Error) -> SourceError {
    SourceError::broken(&error)
}

pub(super) fn refusal(error: image::Error) -> Refusal {
    let reason = error.as_str();
    if let image::Error::Stopped(stop) = error {
        return gate::stopped(stop, reason);
    }
    let status = match error.fault() {
        image::Fault::Client => StatusCode::BAD_REQUEST,
        // RFC 9110 §15.5.16, of what is behind the address: nothing is wrong with it.
        image::Fault::Source if matches!(error, image::Error::Unsupported { .. }) => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        image::Fault::Source => StatusCode::UNPROCESSABLE_ENTITY,
        image::Fault::Internal => {
            tracing::error!("{error}");
            return Refusal::internal(reason);
        }
    };
    Refusal::new(status, reason, error.to_string())
}
