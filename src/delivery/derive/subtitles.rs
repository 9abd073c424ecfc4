//! Subtitles from files beside a video: `film.en.vtt` or `film.en.srt` for `film.mp4`, at the same origins.

use futures_util::{StreamExt, stream};
use http::StatusCode;

use super::{
    super::fill::{Ask, Born},
    Refusal, VideoAsset, confirm, derived_fields,
    source::{Source, SourceError, Want, as_origin_error},
    whole,
};
use crate::{
    cache::FieldLines,
    media::{
        subtitles::{self, BadSubtitles},
        video::{Asset, Language},
    },
    origin,
};

/// Languages looked for at a time.
const AT_A_TIME: usize = 8;

const PAGE: &[u8] = b"text/html";

/// What such a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    WebVtt,
    SubRip,
}

impl Form {
    /// In the order in which they are looked for.
    const ALL: [Self; 2] = [Self::WebVtt, Self::SubRip];

    fn extension(self) -> &'static str {
        match self {
            Self::WebVtt => "vtt",
            Self::SubRip => "srt",
        }
    }

    fn rewrite(self, bytes: &[u8]) -> Result<String, BadSubtitles> {
        match self {
            Self::WebVtt => subtitles::from_webvtt(bytes),
            Self::SubRip => subtitles::from_subrip(bytes),
        }
    }
}

/// The languages that there are.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) languages: Vec<Language>,
    /// Of some it could not be told.
    pub(super) in_doubt: bool,
}

impl VideoAsset {
    /// `subtitles/{language}.vtt`
    pub(super) async fn subtitles(
        &self,
        language: Language,
        ask: &Ask,
    ) -> Result<origin::Response, SourceError> {
        let (source, form) = self.beside(language, &ask.born).await?;
        let asset = Asset::Subtitles(language);
        let now = self.core.clock().unix_millis();
        let operation = format!("video:{asset},{}", form.extension());
        let fields = derived_fields(source.head(), &operation, asset.content_type(), now);
        if let Some(confirmed) = confirm(ask, &fields) {
            return Ok(confirmed);
        }
        if source.length() > subtitles::MAX_BYTES {
            let detail = format!("subtitles of more than {} bytes", subtitles::MAX_BYTES);
            return Err(unprocessable("too_large", detail));
        }
        let bytes = source.read_all().await.map_err(|error| SourceError::Origin(as_origin_error(&error)))?;
        let text = form.rewrite(&bytes).map_err(|error| unprocessable("subtitles", error.to_string()))?;
        Ok(whole(StatusCode::OK, fields, text.into()))
    }

    /// Which of the configured languages there are. Where an origin is in trouble, a playlist without them is better than none.
    pub(super) async fn languages(&self, born: &Born) -> Found {
        let wanted = self.core.media.config.subtitles.to_vec();
        let looks =
            wanted.into_iter().map(|language| async move { (language, self.beside(language, born).await) });
        let looks: Vec<_> = stream::iter(looks).buffered(AT_A_TIME).collect().await;
        let mut found = Found::default();
        for (language, look) in looks {
            match look {
                Ok(_) => found.languages.push(language),
                Err(SourceError::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => {}
                Err(_) => found.in_doubt = true,
            }
        }
        found
    }

    async fn beside(&self, language: Language, born: &Born) -> Result<(Source, Form), SourceError> {
        let missing = || {
            let detail = format!("there are no subtitles in {language:?} beside this video");
            SourceError::Refused(Refusal::new(StatusCode::NOT_FOUND, "not_found", detail))
        };
        let looks = Form::ALL.map(|form| async move {
            let address = self.source.beside(&self.core, &format!("{language}.{}", form.extension()));
            let address = address.ok_or_else(missing)?;
            let found = self.core.source(&address, Want::All, born).await?;
            // Some sites have a page for whatever is not there.
            if is_page(&found) { Err(missing()) } else { Ok((found, form)) }
        });
        let [first, second] = looks;
        let (first, second) = futures_util::join!(first, second);
        match (first, second) {
            (Ok(found), _) | (Err(_), Ok(found)) => Ok(found),
            (Err(one), Err(other)) => Err(if !is_missing(&one) {
                one
            } else if !is_missing(&other) {
                other
            } else {
                missing()
            }),
        }
    }
}

fn is_page(source: &Source) -> bool {
    let kind = source.head().fields.first("content-type");
    kind.is_some_and(|kind| kind.get(..PAGE.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(PAGE)))
}

/// Stores answer 403 for what is not there, when they do not let anybody list it.
fn is_missing(error: &SourceError) -> bool {
    match error {
        SourceError::Status(status) => {
            matches!(*status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN)
        }
        SourceError::Refused(refusal) => refusal.status == StatusCode::NOT_FOUND,
        SourceError::Origin(error) => error.kind == origin::ErrorKind::Forbidden,
    }
}

fn unprocessable(reason: &'static str, detail: String) -> SourceError {
    SourceError::Refused(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, reason, detail))
}
