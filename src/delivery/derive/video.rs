//! Playlists, segments and posters of a video as something that answers like an origin.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use tokio::runtime::Handle;

use super::{
    super::{
        Core,
        fill::{Ask, Pace},
        route::Work,
        sieve::sieve,
    },
    Derived, Media, Refusal, confirm, derived_fields,
    gate::Task,
    poster,
    rung::Wanted,
    source::{Address, Source, SourceError, Want, as_origin_error},
    stills::{self, Drawing, Still},
    subtitles::Found,
    whole,
};
use crate::{
    media::{
        encodes::Urgency,
        video::{self, Asset, Ladder, Package, Piece, Rendition},
    },
    origin,
};

pub struct VideoAsset {
    pub core: Arc<Core>,
    pub source: Address,
    pub work: Work,
    /// Names it among what is being encoded.
    pub what: u128,
    pub urgency: Urgency,
}

impl Derived for VideoAsset {
    async fn make(&self, ask: &Ask) -> Result<origin::Response, SourceError> {
        if let Work::Video(Asset::Subtitles(language)) = self.work {
            return self.subtitles(language, ask).await;
        }
        let source = self.core.source(&self.source, Want::Parts, &ask.born).await?;
        let now = self.core.clock().unix_millis();
        let content_type = match &self.work {
            Work::Video(asset) => asset.content_type(),
            Work::Poster { params, .. } => params.format().content_type(),
            Work::Waveform { form, .. } => Asset::Waveform(*form).content_type(),
            Work::Fetch | Work::Image(_) => return Err(SourceError::Refused(Refusal::internal("route"))),
        };
        let beside = match self.work {
            Work::Video(Asset::Master | Asset::Manifest) => self.languages(&ask.born).await,
            _ => Found::default(),
        };
        let mut operation = self.core.media.operation(&self.work).await;
        beside.languages.iter().for_each(|language| operation.push_str(&format!(",{language}")));
        let mut fields = derived_fields(source.head(), &operation, content_type, now);
        if beside.in_doubt {
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
        }
        // What is stored may be the better form.
        let better = self.is_encoded().then(|| thorough(&operation));
        let better = better.map(|operation| derived_fields(source.head(), &operation, content_type, now));
        for fields in [Some(&fields), better.as_ref()].into_iter().flatten() {
            if let Some(confirmed) = confirm(ask, fields) {
                return Ok(confirmed);
            }
        }
        let media = &self.core.media;
        if let Work::Waveform { form, width, height } = self.work {
            let drawing = Drawing { form, width, height, what: self.what };
            let drawn = self.core.waveform(&source, drawing).await.map_err(SourceError::Refused)?;
            return Ok(whole(StatusCode::OK, fields, drawn));
        }
        let timer = media.instruments.duration.with_label_values(&["package"]).start_timer();
        let package = self.core.package(&source).await.map_err(|error| {
            media.instruments.errors.with_label_values(&["package", reason(&error)]).inc();
            refused(error)
        })?;
        match &self.work {
            Work::Poster { at_millis, params } => {
                timer.stop_and_discard();
                let (runtime, ffmpeg) = (Handle::current(), media.config.ffmpeg.clone());
                let (at_millis, params) = (*at_millis, *params);
                let job = move || poster::make(&runtime, &source, &package, at_millis, &params, &ffmpeg);
                let encoded =
                    media.run(Task::awaited("poster"), job).await.map_err(SourceError::Refused)?.result;
                fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(encoded.content_type));
                Ok(whole(StatusCode::OK, fields, encoded.bytes))
            }
            Work::Video(asset @ (Asset::Sprite(_) | Asset::Preview)) => {
                timer.stop_and_discard();
                let (operation, still) = match asset {
                    Asset::Sprite(number) => ("storyboard", Still::Sprite(*number)),
                    _ => ("preview", Still::Preview),
                };
                let (runtime, ffmpeg) = (Handle::current(), media.config.ffmpeg.clone());
                let job = move || stills::make(&runtime, &source, &package, still, &ffmpeg);
                let made = media.run(Task::awaited(operation), job).await.map_err(SourceError::Refused)?;
                Ok(whole(StatusCode::OK, fields, made.result.bytes))
            }
            Work::Video(Asset::Init(Rendition::Rung(rung))) => {
                timer.stop_and_discard();
                let init = media.init_of(&source, &package, *rung).await.map_err(SourceError::Refused)?;
                Ok(whole(StatusCode::OK, fields, init))
            }
            Work::Video(Asset::Segment(Rendition::Rung(rung), number)) => {
                timer.stop_and_discard();
                let wanted = Wanted { rung: *rung, number: *number, what: self.what, urgency: self.urgency };
                let body = Media::segment_of(&self.core, source, package, wanted).await;
                let body = body.map_err(SourceError::Refused)?;
                Ok(origin::Response {
                    status: StatusCode::OK,
                    headers: fields,
                    content_length: None,
                    body,
                    origin: Arc::from("derived"),
                })
            }
            Work::Video(asset) => {
                let splice = package.asset_beside(asset, &beside.languages).map_err(refused)?;
                timer.observe_duration();
                let body = stream::iter(splice.pieces(0..splice.len))
                    .flat_map(move |piece| match piece {
                        Piece::Bytes(bytes) => stream::iter([Ok(bytes)]).boxed(),
                        Piece::Source(stretch) => {
                            sieve(source.reader(stretch.covered(), Pace::Demand), stretch)
                                .map(|item| item.map_err(|error| as_origin_error(&error)))
                                .boxed()
                        }
                    })
                    .boxed();
                Ok(origin::Response {
                    status: StatusCode::OK,
                    headers: fields,
                    content_length: Some(splice.len),
                    body,
                    origin: Arc::from("derived"),
                })
            }
            Work::Fetch | Work::Image(_) | Work::Waveform { .. } => {
                Err(SourceError::Refused(Refusal::internal("route")))
            }
        }
    }

    fn is_costly(&self) -> bool {
        self.is_encoded()
    }
}

impl VideoAsset {
    fn is_encoded(&self) -> bool {
        matches!(self.work, Work::Video(Asset::Segment(Rendition::Rung(_), _)))
    }
}

/// The text that tells the better form apart.
pub(super) fn thorough(operation: &str) -> String {
    format!("{operation},thorough")
}

impl Media {
    /// What is done, with the settings that its bytes depend on: while a change of these is rolled out, and after it, no entity tag
    /// stands for the bytes of both.
    pub(super) async fn operation(&self, work: &Work) -> String {
        let Work::Video(asset) = work else { return work.operation() };
        let cut = self.config.segment_target.as_millis();
        let operation = format!("{},{cut}", work.operation());
        let listed = matches!(asset, Asset::Master | Asset::Manifest);
        let encoded = matches!(
            asset,
            Asset::MediaPlaylist(Rendition::Rung(_))
                | Asset::Init(Rendition::Rung(_))
                | Asset::Segment(Rendition::Rung(_), _)
        );
        match listed || encoded {
            true => format!("{operation},{}", self.ladder().await),
            false => operation,
        }
    }

    /// The renditions that are made here: none where nothing encodes.
    async fn ladder(&self) -> Ladder {
        match self.transcoder().await {
            Some(_) => self.config.ladder.clone(),
            None => Ladder::default(),
        }
    }
}

impl Core {
    /// The index of a source, read once for each version of it.
    pub(super) async fn package(&self, source: &Source) -> Result<Arc<Package>, video::Error> {
        let media = &self.media;
        let ladder = media.ladder().await;
        let open = async || Package::open(source, media.config.segment_target, &ladder).await;
        match source.version() {
            Some(version) => media.packages.get_or_make(version, Package::weight, open).await,
            None => open().await.map(Arc::new),
        }
    }
}

fn reason(error: &video::Error) -> &'static str {
    match error {
        video::Error::Read(_) => "source",
        video::Error::Malformed { .. } => "video_malformed",
        video::Error::Unsupported { .. } => "video_unsupported",
        video::Error::NotFound => "not_found",
    }
}

fn refused(error: video::Error) -> SourceError {
    SourceError::Refused(refusal(&error))
}

pub(super) fn refusal(error: &video::Error) -> Refusal {
    let status = match error {
        video::Error::Read(_) => StatusCode::BAD_GATEWAY,
        video::Error::Malformed { .. } | video::Error::Unsupported { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        video::Error::NotFound => StatusCode::NOT_FOUND,
    };
    Refusal::new(status, reason(error), error.to_string())
}
