//! Settings as a user writes them. The doc comments are the configuration reference.

use millrace_kit::telemetry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod route;

pub use route::{Fallback, Route};

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Raw {
    pub server: Server,
    pub admin: Admin,
    pub cache: Cache,
    pub fill: Fill,
    /// A fallback chain: asked in this order.
    pub origins: Vec<Origin>,
    /// Rules for parts of the addresses; none: the same for all.
    pub routes: Vec<Route>,
    pub media: Media,
    pub pages: Pages,
    pub log: telemetry::Config,
}

/// Listeners and their bounds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Server {
    /// Address and port for clients. Port 0: any free one.
    pub listen: String,
    /// Address and port for health, metrics and administration. Keep it private: only purges
    /// and explanations ask for the `admin.token` there, and not on a loopback address.
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
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Admin {
    /// Secret that `PURGE` wants as `Authorization: Bearer`, and the admin port when it is not on a loopback address.
    /// Empty: nobody is let in.
    #[schemars(with = "String")]
    pub token: Secret,
}

/// Never shown.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The memory and disk tiers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cache {
    /// Size of the memory tier, such as `512MiB`.
    pub memory: String,
    /// Size of the disk tier; `auto`: 10 GiB, but at most half of what is free; `0`: none.
    pub disk: String,
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Fill {
    /// For range requests: how far to fetch beyond the foremost reader.
    pub read_ahead: String,
    /// An object that was asked for as a whole is fetched to its end after all clients have left, if no more than
    /// this is missing.
    pub finish_max: String,
    /// Ask an origin again that answered 408, 429, 500, 502, 503 or 504. Failed connections and answers that do not come are
    /// retried in any case, and the next origin is asked in any case.
    pub retry_statuses: bool,
    /// A transfer that waits for slow readers gives its origin connection back after this time.
    pub idle_secs: u32,
    /// How often one transfer may be resumed after it broke.
    pub resumes: u32,
}

/// One origin.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Origin {
    /// Name in logs and metrics; empty: its host or directory.
    pub name: String,
    /// `http(s)://host[:port][/prefix]` or a directory.
    pub url: String,
    /// Time to connect, TLS included.
    pub connect_timeout_ms: u32,
    /// Time to the head of the answer.
    pub first_byte_timeout_ms: u32,
    /// Longest silence within a body.
    pub idle_timeout_ms: u32,
    /// Connections kept open while idle.
    pub max_idle_connections: u32,
    /// `Host` to send instead of the URL's.
    pub host_header: String,
    /// Directories: `Cache-Control` of their files.
    pub cache_control: String,
    /// Directories: follow symbolic links, also out of the directory.
    pub follow_symlinks: bool,
}

/// Images and video.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
    /// Most memory to decode one image.
    pub max_decode: String,
    /// Video segments are cut at the first keyframe after multiples of this.
    pub segment_secs: u32,
    /// The ffmpeg program, for video stills.
    pub ffmpeg: String,
    /// One run of ffmpeg is stopped after this time.
    pub ffmpeg_timeout_secs: u32,
}

/// The built-in pages.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pages {
    /// Show a gallery of the origin's `/index.json` at `/`.
    pub gallery: bool,
    /// Serve the demo player at `/_millrace/player?src=…`.
    pub player: bool,
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
            data_dir: String::new(),
            block_size: "1MiB".to_owned(),
            cookies_with_lifetime: false,
            show_keys: false,
        }
    }
}

impl Default for Fill {
    fn default() -> Self {
        Self {
            read_ahead: "8MiB".to_owned(),
            finish_max: "1GiB".to_owned(),
            retry_statuses: false,
            idle_secs: 20,
            resumes: 8,
        }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            connect_timeout_ms: 5_000,
            first_byte_timeout_ms: 30_000,
            idle_timeout_ms: 15_000,
            max_idle_connections: 64,
            host_header: String::new(),
            cache_control: "public, max-age=60".to_owned(),
            follow_symlinks: false,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            threads: 0,
            queue: 0,
            max_source: "64MiB".to_owned(),
            max_megapixels: 100,
            max_output_megapixels: 40,
            max_decode: "512MiB".to_owned(),
            segment_secs: 6,
            ffmpeg: "ffmpeg".to_owned(),
            ffmpeg_timeout_secs: 20,
        }
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self { gallery: false, player: true }
    }
}
