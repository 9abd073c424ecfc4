//! What a target asks for: a source as it is, or something derived from it.

use std::{borrow::Cow, fmt::Write, ops::RangeInclusive, sync::Arc};

use http::{HeaderName, HeaderValue, StatusCode, header};
use url::form_urlencoded;

use super::{
    dialect::{Located, Way},
    handout::{BadSpan, Download, Handout, millis},
    hints,
    outcome::Reason,
    policy::{Denied, Policies, Policy},
    request::{BadTarget, Target},
};
use crate::{
    cache::{FieldLines, Key, KeySeed, control::split_list, vary::qvalue},
    media::{
        image::{Hints, Newest, ParamError, Params, Presets},
        video::{Asset, Span, WaveformForm},
    },
};

/// The kinds of answers, as metric labels name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    Asset,
    Image,
    Playlist,
    Segment,
    Poster,
    Still,
}

/// What has to be done to make the answer from scratch.
#[derive(Debug, Clone)]
pub enum Work {
    Fetch,
    Image(Params),
    Video(Asset),
    /// The frame at so many milliseconds.
    Poster {
        at_millis: u64,
        params: Params,
    },
    /// How loud a sound is over time.
    Waveform {
        form: WaveformForm,
        width: u32,
        height: u32,
    },
}

/// What is to be done for a request, and under whose rules.
#[derive(Clone)]
pub struct Plan<'p> {
    pub route: Route,
    /// What is asked of the origins.
    pub source: Target,
    pub work: Work,
    pub policy: &'p Arc<Policy>,
    /// Whether the client chose among formats.
    negotiated: bool,
    /// What else of the client has counted.
    heeded: Hints,
    handout: Handout,
}

/// What a target asks for, whoever asks.
#[derive(Debug)]
pub struct Shape {
    route: Route,
    source: Target,
    work: Work,
    handout: Handout,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    #[error(transparent)]
    Image(#[from] ParamError),
    #[error("parameter `t` must be seconds from 0 to 1000000, such as 12.5")]
    Time,
    #[error("parameter `w` must be a number of pixels from 16 to 4096, and `h` from 16 to 1024")]
    Waveform,
    #[error(transparent)]
    Span(#[from] BadSpan),
    #[error("the source: {0}")]
    Source(#[from] BadTarget),
    #[error(transparent)]
    Denied(#[from] Denied),
}

impl BadQuery {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Denied(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Denied(denied) => Reason::Denied(*denied),
            _ => Reason::BadRequest,
        }
    }
}

/// Files whose index may stand behind the media.
const VIDEO_EXTENSIONS: [&str; 3] = ["mp4", "m4v", "mov"];
/// Of a waveform that does not say: width and height.
const WAVEFORM_SIZE: (u32, u32) = (1800, 140);
const WAVEFORM_WIDTHS: RangeInclusive<u32> = 16..=4096;
const WAVEFORM_HEIGHTS: RangeInclusive<u32> = 16..=1024;

impl Route {
    pub const ALL: [Self; 6] =
        [Self::Asset, Self::Image, Self::Playlist, Self::Segment, Self::Poster, Self::Still];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asset => "asset",
            Self::Image => "image",
            Self::Playlist => "playlist",
            Self::Segment => "segment",
            Self::Poster => "poster",
            Self::Still => "still",
        }
    }

    /// `http_route` of OpenTelemetry.
    pub fn template(self) -> &'static str {
        match self {
            Self::Asset => "/{path}",
            Self::Image => "/{path}?w",
            Self::Playlist => "/{path}/{playlist}",
            Self::Segment => "/{path}/{rendition}/{segment}",
            Self::Poster => "/{path}/poster.webp",
            Self::Still => "/{path}/{still}",
        }
    }
}

impl Work {
    /// Its canonical text; empty for the source itself.
    pub fn operation(&self) -> String {
        match self {
            Self::Fetch => String::new(),
            Self::Image(params) => format!("image:{}", params.canonical()),
            Self::Video(asset) => format!("video:{asset}"),
            Self::Poster { at_millis, params } => format!("poster:{at_millis},{}", params.canonical()),
            // A list is as high as it is.
            Self::Waveform { form: WaveformForm::Json, width, .. } => format!("waveform:json,{width}"),
            Self::Waveform { form: WaveformForm::Png, width, height } => {
                format!("waveform:png,{width},{height}")
            }
        }
    }
}

impl Shape {
    /// What a target that has been taken apart asks for, as this policy reads it.
    fn read(target: &Target, located: &Located<'_>, policy: &Policy) -> Result<Self, BadQuery> {
        let images = &policy.rules.images;
        let source = located.asked_of_origin(images.is_signed());
        let handout = Handout::of(target, &source)?;
        let image = |params| Self {
            route: Route::Image,
            source: source.clone(),
            work: Work::Image(params),
            handout: handout.clone(),
        };
        let as_it_is = |source: &Target| Self { handout: handout.clone(), ..Self::as_it_is(source) };
        let presets = &*images.presets;
        match &located.way {
            Way::AsItIs => Ok(as_it_is(&source)),
            Way::Query => {
                let params = Params::read(&decoded(target), presets)?;
                Ok(params.map_or_else(
                    || as_it_is(if handout.download.is_some() { &source } else { target }),
                    image,
                ))
            }
            Way::CdnCgi { options } => Ok(image(Params::parse_cdn_cgi(options, presets)?)),
            Way::Imgproxy { options, extension, .. } => {
                Ok(image(Params::parse_imgproxy(options, *extension, presets)?))
            }
            Way::Video(asset) => Self::of_video(target, source, *asset, presets),
        }
    }

    fn of_video(target: &Target, source: Target, asset: Asset, presets: &Presets) -> Result<Self, BadQuery> {
        let route = match asset {
            Asset::Poster => {
                let pairs = decoded(target);
                let at_millis = match pairs.iter().find(|(name, _)| name == "t") {
                    Some((_, seconds)) => millis(seconds).ok_or(BadQuery::Time)?,
                    None => 0,
                };
                let params = Params::read(&pairs, presets)?.unwrap_or_default();
                let (route, work) = (Route::Poster, Work::Poster { at_millis, params });
                return Ok(Self { route, source, work, handout: Handout::default() });
            }
            Asset::Waveform(form) => {
                let pairs = decoded(target);
                let side = |name: &str, unsaid: u32, range: RangeInclusive<u32>| {
                    let given = pairs.iter().find(|(known, _)| known == name);
                    let parsed = given.map_or(Some(unsaid), |(_, value)| whole(value));
                    parsed.filter(|side| range.contains(side)).ok_or(BadQuery::Waveform)
                };
                let width = side("w", WAVEFORM_SIZE.0, WAVEFORM_WIDTHS)?;
                let height = side("h", WAVEFORM_SIZE.1, WAVEFORM_HEIGHTS)?;
                let (route, work) = (Route::Still, Work::Waveform { form, width, height });
                return Ok(Self { route, source, work, handout: Handout::default() });
            }
            Asset::Segment(..) => Route::Segment,
            Asset::Storyboard | Asset::Sprite(_) | Asset::Preview => Route::Still,
            _ => Route::Playlist,
        };
        Ok(Self { route, source, work: Work::Video(asset), handout: Handout::default() })
    }

    /// The target itself, whatever could be made of it.
    pub fn as_it_is(target: &Target) -> Self {
        Self { route: Route::Asset, source: target.clone(), work: Work::Fetch, handout: Handout::default() }
    }

    pub fn under(self, policy: &Arc<Policy>) -> Plan<'_> {
        let Self { route, source, work, handout } = self;
        Plan {
            route,
            source: policy.rules.query.apply(source),
            work,
            policy,
            negotiated: false,
            heeded: Hints::default(),
            handout,
        }
    }
}

impl<'p> Plan<'p> {
    /// What a target asks for, whether or not strangers may.
    pub fn of(target: &Target, host: &str, policies: &'p Policies) -> Result<Self, BadQuery> {
        let located = Located::of(target)?;
        let policy = policies.of(host, located.source.path());
        Self::under(target, &located, policy)
    }

    /// The same for a policy that is known to be for it.
    pub fn under(target: &Target, located: &Located<'_>, policy: &'p Arc<Policy>) -> Result<Self, BadQuery> {
        Ok(Shape::read(target, located, policy)?.under(policy))
    }

    /// What a stranger asks for, if he may. `now` is in seconds since 1970.
    pub fn admitted(target: &Target, host: &str, policies: &'p Policies, now: u64) -> Result<Self, BadQuery> {
        let located = Located::of(target)?;
        let policy = policies.of(host, located.source.path());
        let images = &policy.rules.images;
        // An origin may read such a path as one that another, guarded route is for.
        if images.is_open() && policies.guards_images() && located.makes_image() {
            let read = policies.of_plain(host, located.source.path());
            if located.is_ambiguous() || !read.rules.images.is_open() {
                return Err(Denied::Ambiguous.into());
            }
        }
        images.admit_address(target, &located, now)?;
        let plan = Self::under(target, &located, policy)?;
        match &plan.work {
            Work::Image(params) => images.admit_operation(params)?,
            Work::Poster { params, .. } if *params != Params::default() => images.admit_operation(params)?,
            Work::Waveform { width, height, .. } if (*width, *height) != WAVEFORM_SIZE => {
                images.admit_size()?
            }
            _ => {}
        }
        Ok(plan)
    }

    /// The source as it is, whatever could be made of it.
    pub fn fetch(target: &Target, host: &str, policies: &'p Policies) -> Self {
        Shape::as_it_is(target).under(policies.of(host, target.path()))
    }

    /// With what is the client's choice settled (`auto=format`), and sizes from the grid.
    pub fn settled(mut self, fields: &impl FieldLines, lengths: &[u32]) -> Self {
        if let Work::Waveform { width, height, .. } = &mut self.work
            && self.policy.rules.images.is_open()
        {
            let next = |side: u32| lengths.get(lengths.partition_point(|length| *length < side)).copied();
            (*width, *height) = (next(*width).unwrap_or(*width), next(*height).unwrap_or(*height));
        }
        if let Work::Image(params) | Work::Poster { params, .. } = &mut self.work {
            let images = &self.policy.rules.images;
            self.heeded = params.heeds(images.hints);
            *params = match self.heeded.is_empty() {
                true => params.settled(),
                false => params.hinted(self.heeded, &hints::told(fields, self.heeded)),
            };
            if images.is_open() || !self.heeded.is_empty() {
                *params = params.snapped(lengths);
            }
            if params.negotiates() {
                *params = params.negotiated(newest(fields));
                self.negotiated = true;
            }
        }
        self
    }

    /// Something else of the same source.
    pub fn instead(&self, work: Work) -> Self {
        let (route, source, policy) = (self.route, self.source.clone(), self.policy);
        let handout = Handout::default();
        Self { route, source, work, policy, negotiated: false, heeded: Hints::default(), handout }
    }

    /// The fields by which the client has chosen.
    pub fn vary(&self) -> Option<(HeaderName, HeaderValue)> {
        if self.heeded.is_empty() {
            return self.negotiated.then(|| (header::VARY, HeaderValue::from_static("Accept")));
        }
        let names: Vec<_> =
            self.negotiated.then_some("Accept").into_iter().chain(hints::fields(self.heeded)).collect();
        HeaderValue::try_from(names.join(", ")).ok().map(|names| (header::VARY, names))
    }

    /// Asks browsers to tell what counts here: with the images that it counts for, and with pages, since browsers heed
    /// only these.
    pub fn accept_ch(&self, is_page: impl FnOnce() -> bool) -> Option<(HeaderName, HeaderValue)> {
        const ACCEPT_CH: HeaderName = HeaderName::from_static("accept-ch");
        let of_route = self.policy.rules.images.hints;
        let page = !of_route.is_empty() && matches!(self.work, Work::Fetch) && is_page();
        let asked = if page { of_route } else { self.heeded };
        hints::accepted(asked).map(|names| (ACCEPT_CH, names))
    }

    /// The stretch of a video that is asked for.
    pub fn clip(&self) -> Option<Span> {
        self.handout.clip
    }

    /// With which name it is to be kept.
    pub fn download(&self) -> Option<&Download> {
        self.handout.download.as_ref()
    }

    /// Whether the bytes may have to be put in another order for a player.
    pub fn is_progressive(&self) -> bool {
        let video =
            |extension: &str| VIDEO_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known));
        matches!(self.work, Work::Fetch)
            && (self.handout.clip.is_some() || self.source.extension().is_some_and(video))
    }

    pub fn key(&self, seed: KeySeed) -> Key {
        let bare = self.policy.space.is_empty() && self.policy.key_tail.is_empty();
        match (&self.work, self.source.bare_path().filter(|_| bare)) {
            // Most keys: nothing has to be put together.
            (Work::Fetch, Some(path)) => Key::new(path.clone(), seed),
            _ => Key::new(self.key_text(), seed),
        }
    }

    /// Equal texts mean equal answers, but for `Vary` and what the policy adds to it. A space cannot occur in a target, nor
    /// a slash in what stands in front of it, so no two kinds of work meet, and no two hosts that are kept apart.
    fn key_text(&self) -> String {
        let mut text = self.url_text();
        text.push_str(&self.policy.key_tail);
        text
    }

    /// The part of the key that its address makes, by which it is purged.
    pub fn url_text(&self) -> String {
        let mut text = String::with_capacity(96);
        text.push_str(&self.policy.space);
        // Writing to a string does not fail.
        let _ = match &self.work {
            Work::Fetch => write!(text, "{}", self.source),
            work => write!(text, "{} {}", self.source, work.operation()),
        };
        text
    }
}

/// The newest format that it names in so many words: clients that know neither WebP nor AVIF send `*/*`, too. Who takes AVIF has to
/// take WebP, which it is at first.
fn newest(fields: &impl FieldLines) -> Newest {
    let takes = |format: &str| {
        let lines = fields.lines("accept").filter_map(|line| std::str::from_utf8(line).ok());
        lines.flat_map(split_list).any(|range| {
            let mut parts = range.split(';').map(|part| part.trim_matches([' ', '\t']));
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(format));
            let is_zero = |part: &str| {
                let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
                weight.and_then(qvalue) == Some(0)
            };
            named && !parts.any(is_zero)
        })
    };
    match (takes("image/webp"), takes("image/avif")) {
        (true, true) => Newest::Avif,
        (true, false) => Newest::Webp,
        (false, _) => Newest::Baseline,
    }
}

fn decoded(target: &Target) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(target.query().unwrap_or_default().as_bytes()).collect()
}

fn whole(number: &str) -> Option<u32> {
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests;
