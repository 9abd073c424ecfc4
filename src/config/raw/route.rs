//! `[[routes]]`: rules for parts of the addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::edge::{Cors, Rate};

/// Rules for a part of the addresses. For each request one route counts: one that names its host before one for the names
/// below a domain, these before one for any host, and among equals the longest path. Where none fits, all origins are asked, under
/// the defaults below.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Route {
    /// Name in logs; empty: host and path.
    pub name: String,
    /// `media.example.com`, or `*.example.com` for all names below it; empty: any host. What is stored for different hosts
    /// here is kept apart; other hosts that clients may name make no difference. Origins are not told the client's host unless `key_headers` has `Host`.
    pub host: String,
    /// Whole segments with which paths begin: `/films` is for `/films` and `/films/1`, not for `/filmstrip`. What is made of
    /// a source follows the source's path.
    pub path: String,
    /// Names of origins, in the order in which they are asked; empty: all.
    pub origins: Vec<String>,
    /// How origins that are no `backup` share the requests. `order`: the first gets all, the others what it does not answer. `hash`: each
    /// address has an order of its own, by `weight`, the same at all servers. `random`: by lot and `weight`, and of two the less busy; only for
    /// origins that give the same files the same validators.
    pub balance: Balance,
    /// What of `[retry]` is otherwise here.
    pub retry: RouteRetry,
    /// Leave origins alone for what fails here without regard to the other routes, and the other way round. Useful where one
    /// origin serves things that fail independently.
    pub own_breakers: bool,
    /// Query parameters that count; a name may end with `*`. The others are in no key, and no origin gets to see them.
    pub query_allow: Vec<String>,
    /// Query parameters that do not count though they are allowed.
    pub query_deny: Vec<String>,
    /// Let `utm_*`, `gclid`, `fbclid`, `msclkid` and their like count. By default they do only where `query_allow` names them in full.
    pub keep_tracking: bool,
    /// Bring parameters into the order of their names, for the origin too.
    pub query_sort: bool,
    /// Request fields that origins get to see beside `key_headers`; `*`: all but those with which clients could pretend to
    /// ask for something else (`X-Forwarded-Host`, `X-Original-URL` and their like). Empty: what reaches an origin is in the key.
    pub forward_headers: Vec<String>,
    /// Request fields by which answers are told apart even where these do not name them in `Vary`. Values of more than 256 bytes
    /// count as absent. Together with `key_cookies` at most 8.
    pub key_headers: Vec<String>,
    /// Cookies by which answers are told apart, as by `key_headers`. If there are any, origins get to see no others.
    pub key_cookies: Vec<String>,
    /// Longer answers, such as `100MiB`, are passed on without being stored, and nothing is made of them; empty: no bound.
    pub max_object_size: String,
    /// Successes and redirections are fresh for at least this long, whatever they say; but what may not be stored, or
    /// only be used when validated, stays so, and answers to requests with cookies are not made to last.
    pub min_ttl_secs: u32,
    /// Nothing is fresh for longer than this; 0: no bound.
    pub max_ttl_secs: u32,
    /// How long answers are fresh that neither say so nor give a date of change; 0: they are not. Errors have their own.
    pub default_ttl_secs: u32,
    /// How long a 404 or 410 that does not say so is remembered; 0: not at all.
    pub negative_ttl_secs: u32,
    /// How long a 500, 502, 503 or 504 that does not say so is remembered, against RFC 9111; 0: not at all.
    pub error_ttl_secs: u32,
    /// How long answers that do not say may be served stale while they are validated behind; 0: not at all.
    pub stale_while_revalidate_secs: u32,
    /// How long answers that do not say may be served stale when no origin can answer; 0: not at all.
    pub stale_if_error_secs: u32,
    /// Which images are made here. `open`: all that are asked for. `presets`: those of `media.presets`. `signed`: those whose
    /// addresses carry a signature of one of `media.signing_keys`. What is not made is answered 403; sources are served as they are.
    pub images: Images,
    /// With `presets`, only these; empty: all of `media.presets`.
    pub image_presets: Vec<String>,
    /// What browsers tell of themselves that counts for all images here: of `dpr`, `width`, `viewport-width` and `save-data`. Pages
    /// from here ask browsers to tell it.
    pub client_hints: Vec<String>,
    /// Who gets it. `public`: everybody; `signed`: who has a signed address (`millrace sign`), or a token; `token`: who has a
    /// token with the scope `read`. Neither signatures nor tokens are in keys, and no origin sees them.
    pub access: Access,
    /// How fast files go out, in bytes a second such as `2MiB`, once `pace_burst` has gone; empty: as fast as they can.
    pub pace: String,
    /// What goes out at once where there is a `pace`; at least 1MiB.
    pub pace_burst: String,
    pub rate: Rate,
    pub cors: Cors,
    pub fallback: Fallback,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Balance {
    #[default]
    Order,
    Hash,
    Random,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Images {
    #[default]
    Open,
    Presets,
    Signed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    #[default]
    Public,
    Signed,
    Token,
}

/// What a route has otherwise than `[retry]`; the budget is the origin's, whoever asks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RouteRetry {
    pub attempts: Option<u32>,
    pub statuses: Option<bool>,
    pub backoff_ms: Option<u32>,
    pub backoff_max_ms: Option<u32>,
    pub hedge: Option<bool>,
    pub give_up_ms: Option<u32>,
}

/// What a route serves to GET and HEAD when its origins have failed (errors of theirs, 5xx included) and nothing stored may
/// stand in; neither a file nor a path: the error itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Fallback {
    /// A file, read when the server starts. At most 16 MiB.
    pub file: String,
    /// Of the file; empty: by its extension.
    pub content_type: String,
    /// Instead of a file: something that is to be had here, under the rules of its own route, such as `/slate.jpg`.
    pub path: String,
    /// Status with which it is served.
    pub status: u16,
    /// `Cache-Control` with which it is served.
    pub cache_control: String,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            name: String::new(),
            host: String::new(),
            path: "/".to_owned(),
            origins: Vec::new(),
            balance: Balance::default(),
            retry: RouteRetry::default(),
            own_breakers: false,
            query_allow: vec!["*".to_owned()],
            query_deny: Vec::new(),
            keep_tracking: false,
            query_sort: true,
            forward_headers: vec!["*".to_owned()],
            key_headers: Vec::new(),
            key_cookies: Vec::new(),
            max_object_size: String::new(),
            min_ttl_secs: 0,
            max_ttl_secs: 0,
            default_ttl_secs: 0,
            negative_ttl_secs: 2,
            error_ttl_secs: 0,
            stale_while_revalidate_secs: 0,
            stale_if_error_secs: 24 * 3600,
            images: Images::Open,
            image_presets: Vec::new(),
            client_hints: Vec::new(),
            access: Access::Public,
            pace: String::new(),
            pace_burst: "8MiB".to_owned(),
            rate: Rate::default(),
            cors: Cors::default(),
            fallback: Fallback::default(),
        }
    }
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            file: String::new(),
            content_type: String::new(),
            path: String::new(),
            status: 503,
            cache_control: "no-store".to_owned(),
        }
    }
}
