//! Settings as a user writes them. The doc comments are the configuration reference.

use std::collections::BTreeMap;

use millrace_kit::telemetry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::retry::{Breaker, Retry};

pub use millrace_kit::secret::Secret;

mod access;
mod edge;
mod jobs;
mod origin;
mod route;
mod uploads;
mod warm;

pub use access::Access;
pub use edge::{Acme, Certificate, Cors, Limits, Proxies, Rate, Tls};
pub use jobs::{Jobs, Ready};
pub use origin::{Addressing, Origin, OriginTls, S3};
pub use route::{Access as RouteAccess, Balance, Fallback, Images, Route, RouteRetry};
pub use uploads::{Mode, Uploads};
pub use warm::Warm;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Raw {
    pub server: Server,
    pub tls: Tls,
    pub limits: Limits,
    pub proxies: Proxies,
    pub admin: Admin,
    pub access: Access,
    pub uploads: Uploads,
    pub jobs: Jobs,
    pub cache: Cache,
    pub warm: Warm,
    pub fill: Fill,
    pub retry: Retry,
    pub breaker: Breaker,
    /// A fallback chain: asked in this order.
    pub origins: Vec<Origin>,
    /// Rules for parts of the addresses; none: the same for all.
    pub routes: Vec<Route>,
    pub media: Media,
    pub compression: Compression,
    pub pages: Pages,
    pub log: telemetry::Config,
}

/// Listeners and their bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Server {
    /// Address and port for clients. Port 0: any free one.
    pub listen: String,
    /// Address and port for health, metrics and administration. Keep it private: on a loopback address nobody is asked
    /// for a token, elsewhere for everything but health and metrics.
    pub admin: String,
    /// Threads that serve clients; 0: one per core.
    pub workers: u32,
    /// Connections beyond this wait to be accepted.
    pub max_connections: u32,
    /// A request head must have arrived within this time.
    pub header_timeout_secs: u32,
    /// Idle connections are closed after this time.
    pub keep_alive_secs: u32,
    /// Requests in flight get this long to finish when the server stops.
    pub drain_timeout_secs: u32,
}

/// Who may change something from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Admin {
    /// Secret that lets in for everything as `Authorization: Bearer`: for `PURGE`, uploads, and the admin port when it is not
    /// on a loopback address. Empty: only the tokens of `[access]` do.
    #[schemars(with = "String")]
    pub token: Secret,
    /// Names by which the admin port may be called when it is on a loopback address, beside `localhost` and addresses.
    pub hosts: Vec<String>,
}

/// The memory and disk tiers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cache {
    /// Size of the memory tier, such as `512MiB`. Beyond an eighth of it, what is being served and fetched has its memory from
    /// here: the tier then holds less, down to a quarter.
    pub memory: String,
    /// Size of the disk tier; `auto`: 10 GiB, but at most half of what is free; `0`: none.
    pub disk: String,
    /// Bytes per second that the disk tier writes in the long run, such as `20MiB`; `0`: no bound. Beyond it objects stay
    /// in memory.
    pub disk_write_rate: String,
    /// Where the disk tier lives; empty: `millrace` in the user's cache directory. One server per directory.
    pub data_dir: String,
    /// Unit of storing and fetching, a power of two from `64KiB` to `16MiB`. Objects up to this length are stored as
    /// one entry. A change applies to what is fetched from then on.
    pub block_size: String,
    /// Also store answers with `Set-Cookie` that only say how long they are good for, and send the cookie to everybody.
    /// Without this, only those are stored that say `public` or `s-maxage`.
    pub cookies_with_lifetime: bool,
    /// Show in `Cache-Status` under which key an answer is stored, without values of parameters that look like secrets.
    pub show_keys: bool,
}

/// How objects are fetched into the cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Fill {
    /// For range requests: how far to fetch beyond the foremost reader.
    pub read_ahead: String,
    /// An object that was asked for as a whole is fetched to its end after all clients have left, if no more than
    /// this is missing.
    pub finish_max: String,
    /// A transfer that waits for slow readers gives its origin connection back after this time.
    pub idle_secs: u32,
    /// How often one transfer may be resumed after it broke.
    pub resumes: u32,
}

/// Images and video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Media {
    /// Threads for image work; 0: one per core.
    pub threads: u32,
    /// Jobs that may wait for a thread; more are answered 503. 0: 16 per thread.
    pub queue: u32,
    /// Longest source of an image.
    pub max_source: String,
    /// Most megapixels of a source image.
    pub max_megapixels: u32,
    /// Most megapixels of a made image.
    pub max_output_megapixels: u32,
    /// Most frames of an animation that stays one.
    pub max_frames: u32,
    /// Most megapixels of all its frames together, of the source and of what is made.
    pub max_animation_megapixels: u32,
    /// Most memory to decode one image.
    pub max_decode: String,
    /// Most memory for all image jobs together, sources not counted; further ones wait, and one that would take more is refused.
    pub max_memory: String,
    /// An image job that has run for so long is stopped at the end of its step.
    pub image_timeout_secs: u32,
    /// WebP and AVIF images and segments of renditions that have been asked for so often are encoded again with more effort when nothing else
    /// is to do, and replaced; 0: never.
    pub improve_after: u32,
    /// Widths of images: one that is asked for becomes the next of these, so that nobody can have thousands of variants
    /// made; a box keeps its shape, and `h` without `w` is treated alike. `[]`: any.
    pub widths: Vec<u32>,
    /// Image operations with names, such as `thumb = "w=320&h=240&fit=crop"`: asked for by `preset=thumb`.
    pub presets: BTreeMap<String, String>,
    /// Keys for signatures of image addresses: pairs `key:salt` in hexadecimal digits, separated by commas. The first
    /// signs, all verify. Better given in the environment, as `MILLRACE__MEDIA__SIGNING_KEYS`, or in a file.
    #[schemars(with = "String")]
    pub signing_keys: Secret,
    /// File of such pairs, one in each line, after those of `signing_keys`.
    pub signing_keys_file: String,
    /// Bytes of a signature, from 8 to 32; the rest of the HMAC is cut off.
    pub signature_bytes: u32,
    /// `sandbox`: SVG is served so that browsers run nothing that is in it; `refuse`: it is answered 403.
    pub svg: Svg,
    /// Video segments are cut at the first keyframe after multiples of this.
    pub segment_secs: u32,
    /// The ffmpeg program, for video stills.
    pub ffmpeg: String,
    /// One run of ffmpeg for a still is stopped after this time.
    pub ffmpeg_timeout_secs: u32,
    /// What makes smaller renditions of videos: `auto` (the first hardware that encodes a trial, else software), `off`, or
    /// `libx264`, `h264_nvenc`, `h264_qsv`, `h264_vaapi`, `h264_videotoolbox`.
    pub encoder: String,
    /// Segments encoded at once, and one more for who looks at a still picture; 0: one per core.
    pub encodes: u32,
    /// Segments that may wait to be encoded; more are answered 503.
    pub encode_queue: u32,
    /// Segments made ahead of each viewer.
    pub encode_ahead: u32,
    /// Renditions, as far as a source is not smaller.
    pub ladder: Vec<LadderStep>,
    /// Languages of which subtitles are looked for beside each video, such as `en` or `pt-BR`: `film.en.vtt` or `film.en.srt` for
    /// `film.mp4`. Each costs two requests to the origin when a playlist is made. At most 32.
    pub subtitles: Vec<String>,
}

/// A smaller rendition of videos.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LadderStep {
    /// Of the shorter side of the picture: `480` is 854x480, and 480x854 held upright. Names the rendition: `480p`.
    pub height: u16,
    /// Kilobits per second.
    pub kbps: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Svg {
    #[default]
    Sandbox,
    Refuse,
}

/// Content codings. What is stored, and of one of these types and lengths, is also kept in the codings that clients
/// ask for: `br`, `zstd` and `gzip`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Compression {
    pub enabled: bool,
    /// Shorter objects are left as they are.
    pub min_length: String,
    /// Longer objects are left as they are.
    pub max_length: String,
    /// Media types; `text/*` stands for all of a kind, `*+json` for all with a suffix.
    pub types: Vec<String>,
}

/// The built-in pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pages {
    /// Show a gallery of the origin's `/index.json` at `/`.
    pub gallery: bool,
    /// Serve the demo player at `/_millrace/player?src=…`.
    pub player: bool,
    /// Serve a page for uploads at `/_millrace/upload`, if uploads are taken.
    pub upload: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            admin: "127.0.0.1:8081".to_owned(),
            workers: 0,
            max_connections: 25_000,
            header_timeout_secs: 10,
            keep_alive_secs: 75,
            drain_timeout_secs: 30,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory: "512MiB".to_owned(),
            disk: "auto".to_owned(),
            disk_write_rate: "0".to_owned(),
            data_dir: String::new(),
            block_size: "1MiB".to_owned(),
            cookies_with_lifetime: false,
            show_keys: false,
        }
    }
}

impl Default for Fill {
    fn default() -> Self {
        Self { read_ahead: "8MiB".to_owned(), finish_max: "1GiB".to_owned(), idle_secs: 20, resumes: 8 }
    }
}

/// Usual widths as they are; between them at most an eighth is added, for small ones ten pixels.
const WIDTHS: [u32; 106] = [
    10, 16, 20, 24, 30, 32, 40, 48, 50, 60, 64, 70, 75, 80, 90, 96, 100, 110, 120, 128, 130, 140, 150, 160,
    170, 180, 190, 200, 220, 240, 250, 256, 260, 280, 300, 320, 340, 350, 360, 375, 384, 400, 414, 420, 450,
    480, 500, 512, 540, 560, 600, 640, 680, 700, 720, 750, 768, 800, 828, 840, 900, 960, 1000, 1024, 1080,
    1120, 1160, 1200, 1280, 1366, 1440, 1500, 1536, 1600, 1680, 1750, 1800, 1920, 2000, 2048, 2160, 2240,
    2320, 2400, 2560, 2732, 2880, 3000, 3072, 3200, 3440, 3640, 3840, 4000, 4096, 4240, 4480, 4736, 5000,
    5120, 5600, 6000, 6400, 7000, 7680, 8192,
];

/// Heights and kilobits per second.
const LADDER: [(u16, u32); 5] = [(1080, 5000), (720, 2800), (480, 1400), (360, 800), (240, 400)];

impl Default for Media {
    fn default() -> Self {
        Self {
            threads: 0,
            queue: 0,
            max_source: "64MiB".to_owned(),
            max_megapixels: 100,
            max_output_megapixels: 40,
            max_frames: 1000,
            max_animation_megapixels: 250,
            max_decode: "512MiB".to_owned(),
            max_memory: "1GiB".to_owned(),
            image_timeout_secs: 20,
            improve_after: 20,
            widths: WIDTHS.to_vec(),
            presets: BTreeMap::new(),
            signing_keys: Secret::default(),
            signing_keys_file: String::new(),
            signature_bytes: 32,
            svg: Svg::Sandbox,
            segment_secs: 6,
            ffmpeg: "ffmpeg".to_owned(),
            ffmpeg_timeout_secs: 20,
            encoder: "auto".to_owned(),
            encodes: 0,
            encode_queue: 64,
            encode_ahead: 2,
            ladder: LADDER.map(|(height, kbps)| LadderStep { height, kbps }).to_vec(),
            subtitles: vec!["en".to_owned()],
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        let types = [
            "text/*",
            "*+json",
            "*+xml",
            "application/json",
            "application/javascript",
            "application/xml",
            "application/vnd.apple.mpegurl",
            "application/wasm",
            "font/ttf",
            "font/otf",
            "image/bmp",
            "image/vnd.microsoft.icon",
            "image/x-icon",
        ];
        Self {
            enabled: true,
            min_length: "512B".to_owned(),
            max_length: "8MiB".to_owned(),
            types: types.map(str::to_owned).to_vec(),
        }
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self { gallery: false, player: true, upload: true }
    }
}
