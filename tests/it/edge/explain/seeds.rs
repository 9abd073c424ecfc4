//! Misconfigurations as they are met, each with the reason and the fix that must be named.

use super::{
    super::{BLOCK, Edge},
    fresh,
};
use crate::origin_double::Answer;

type Fields = &'static [(&'static str, &'static str)];

/// Something that is wrong, and what is to be said of it.
pub(super) struct Seed {
    pub(super) name: &'static str,
    pub(super) answer: Answer,
    /// What was asked before: query and fields.
    pub(super) before: &'static [(&'static str, Fields)],
    pub(super) wait: u64,
    /// Method, query and fields that are asked about.
    pub(super) asked: (&'static str, &'static str, Fields),
    pub(super) verdict: (&'static str, &'static str),
    pub(super) because: &'static str,
    /// Who, what, and a word of how.
    pub(super) fix: (&'static str, &'static str, &'static str),
    /// The same without the fault.
    pub(super) mended: Option<Answer>,
}

const ONCE: &[(&str, Fields)] = &[("", &[])];
const PLAIN: (&str, &str, Fields) = ("GET", "", &[]);
const TOO_WIDE: &str =
    "x-0, x-1, x-2, x-3, x-4, x-5, x-6, x-7, x-8, x-9, x-10, x-11, x-12, x-13, x-14, x-15, x-16";
const UNUSABLE: (&str, &str) = ("bypass", "no-lifetime-no-validator");

fn seed(name: &'static str, answer: Answer, verdict: (&'static str, &'static str)) -> Seed {
    let fix = ("", "", "");
    Seed { name, answer, before: ONCE, wait: 0, asked: PLAIN, verdict, because: "", fix, mended: None }
}

impl Seed {
    fn before(self, before: &'static [(&'static str, Fields)]) -> Self {
        Self { before, ..self }
    }

    fn wait(self, wait: u64) -> Self {
        Self { wait, ..self }
    }

    fn asked(self, method: &'static str, query: &'static str, fields: Fields) -> Self {
        Self { asked: (method, query, fields), ..self }
    }

    fn because(self, because: &'static str) -> Self {
        Self { because, ..self }
    }

    fn fix(self, who: &'static str, what: &'static str, how: &'static str) -> Self {
        Self { fix: (who, what, how), ..self }
    }

    fn mended(self, mended: Answer) -> Self {
        Self { mended: Some(mended), ..self }
    }
}

pub(super) fn seeds(edge: &Edge) -> Vec<Seed> {
    let ok = || Answer::ok("hello");
    let dated = |date: i64| ok().header("date", &edge.date(date));
    const BEARER: Fields = &[("authorization", "Bearer s3cret")];
    vec![
        seed("cookie", fresh().header("set-cookie", "session=s3cret"), ("bypass", "set-cookie"))
            .because("Set-Cookie: session=...")
            .fix("origin", "drop-set-cookie", "session=...")
            .mended(fresh()),
        seed("vary-user-agent", fresh().header("vary", "User-Agent"), ("miss", "vary-miss"))
            .before(&[("", &[("user-agent", "A")])])
            .asked("GET", "", &[("user-agent", "B")])
            .because("Vary: user-agent")
            .fix("origin", "narrow-vary", "`User-Agent`")
            .mended(fresh()),
        seed("vary-star", fresh().header("vary", "*"), ("bypass", "vary-star"))
            .because("Vary: *")
            .fix("origin", "name-vary", "instead of `*`")
            .mended(fresh().header("vary", "accept")),
        seed("vary-too-wide", fresh().header("vary", TOO_WIDE), ("bypass", "vary-star"))
            .because("Vary: x-0, x-1")
            .fix("origin", "name-vary", "more than 16")
            .mended(fresh().header("vary", "x-0, x-1")),
        seed("missing-and-forbidden", Answer::empty(404).cache_control("no-store"), ("miss", "not-found"))
            .because("404, which is not stored: the origin forbids it (Cache-Control: no-store)")
            .fix("origin", "drop-directive", "`no-store`")
            .mended(Answer::empty(404)),
        seed("vary-cookie", fresh().header("vary", "Accept-Encoding, Cookie"), ("miss", "vary-miss"))
            .before(&[("", &[("cookie", "session=s3cret; a=1")])])
            .asked("GET", "", &[("cookie", "session=s4cret; a=1")])
            .fix("origin", "narrow-vary", "`Cookie`")
            .mended(fresh().header("vary", "Accept-Encoding")),
        seed("unbounded-vary", fresh().header("vary", "X-Request-Id"), ("miss", "vary-miss"))
            .before(&[
                ("", &[("x-request-id", "1")]),
                ("", &[("x-request-id", "2")]),
                ("", &[("x-request-id", "3")]),
                ("", &[("x-request-id", "4")]),
                ("", &[("x-request-id", "5")]),
                ("", &[("x-request-id", "6")]),
                ("", &[("x-request-id", "7")]),
                ("", &[("x-request-id", "8")]),
            ])
            .asked("GET", "", &[("x-request-id", "9")])
            .fix("origin", "narrow-vary", "another one for each request"),
        seed("tracking", fresh().etag("\"1\""), ("miss", "uri-miss"))
            .before(&[("?id=1&newsletter_id=7", &[]), ("?id=1&newsletter_id=8", &[])])
            .asked("GET", "?id=1&newsletter_id=9", &[])
            .fix("config", "drop-parameter", "`newsletter_id`"),
        seed("cache-buster", fresh(), ("miss", "uri-miss"))
            .before(&[("?_=1001", &[]), ("?_=1002", &[])])
            .asked("GET", "?_=1003", &[])
            .fix("config", "drop-parameter", "`_`"),
        seed(
            "framework",
            ok().cache_control("no-store, no-cache, must-revalidate")
                .header("expires", "Thu, 19 Nov 1981 08:52:00 GMT")
                .header("pragma", "no-cache"),
            ("bypass", "no-store"),
        )
        .because("no-store, no-cache, must-revalidate")
        .fix("origin", "replace-cache-control", "PHP")
        .mended(fresh()),
        seed("private", ok().cache_control("private, max-age=60"), ("bypass", "private"))
            .because("private, max-age=60")
            .fix("origin", "drop-directive", "`private`")
            .mended(fresh()),
        seed("clock-behind", dated(-3600).cache_control("max-age=60"), UNUSABLE)
            .because("clock is behind")
            .fix("origin", "set-clock", "60 min behind")
            .mended(fresh()),
        seed("clock-ahead", dated(3600).header("expires", &edge.date(60)), UNUSABLE)
            .because("60 min ahead")
            .fix("origin", "set-clock", "60 min ahead")
            .mended(dated(0).header("expires", &edge.date(60))),
        seed("ends-before-it-begins", dated(0).header("expires", &edge.date(-60)), UNUSABLE)
            .because("Expires: ")
            .fix("origin", "give-lifetime", "max-age=60")
            .mended(fresh()),
        seed("tiny-lifetime", ok().cache_control("max-age=1"), ("miss", "stale"))
            .wait(5)
            .because("5 s old and was good for 1 s (Cache-Control: max-age=1)")
            .fix("origin", "give-lifetime", "max-age=60")
            .mended(fresh()),
        seed("no-lifetime", ok().cache_control("max-age=0"), UNUSABLE)
            .because("max-age=0")
            .fix("origin", "give-lifetime", "max-age=60")
            .mended(fresh()),
        seed("nothing-said", ok(), UNUSABLE)
            .because("neither a lifetime nor a validator")
            .fix("origin", "give-lifetime", "max-age=60")
            .mended(fresh()),
        seed("bad-expires", ok().header("expires", "tomorrow"), UNUSABLE)
            .because("Expires: tomorrow (not a date)")
            .fix("origin", "give-lifetime", "its Expires can't be read")
            .mended(fresh()),
        seed("credentials", fresh(), ("bypass", "authorization"))
            .before(&[("", BEARER)])
            .asked("GET", "", BEARER)
            .because("credentials")
            .fix("origin", "mark-public", "`public`")
            .mended(ok().cache_control("public, max-age=60")),
        seed("post", fresh(), ("bypass", "method"))
            .asked("POST", "", &[])
            .because("POST")
            .fix("client", "use-get", "GET"),
        seed("redirect", Answer::empty(302).header("location", "/elsewhere"), UNUSABLE)
            .because("status 302")
            .fix("origin", "give-lifetime", "redirect")
            .mended(Answer::empty(302).header("location", "/elsewhere").cache_control("max-age=60")),
        seed("reload", fresh(), ("miss", "request-no-cache"))
            .asked("GET", "", &[("cache-control", "no-cache")])
            .because("Cache-Control: no-cache")
            .fix("client", "drop-request-directive", "`no-cache`"),
        seed("pragma", fresh(), ("miss", "request-no-cache"))
            .asked("GET", "", &[("pragma", "no-cache")])
            .because("Pragma: no-cache")
            .fix("client", "drop-pragma", "Pragma"),
        seed("request-no-store", fresh(), ("bypass", "request-no-store"))
            .before(&[])
            .asked("GET", "", &[("cache-control", "no-store")])
            .because("`no-store`")
            .fix("client", "drop-request-directive", "`no-store`"),
        seed("only-if-cached", fresh(), ("error", "only-if-cached"))
            .before(&[])
            .asked("GET", "", &[("cache-control", "only-if-cached")])
            .because("only-if-cached")
            .fix("client", "drop-only-if-cached", "only-if-cached"),
        seed("overridden", fresh().header("cdn-cache-control", "no-store"), ("bypass", "no-store"))
            .because("CDN-Cache-Control: no-store")
            .fix("origin", "drop-directive", "CDN-Cache-Control")
            .mended(fresh()),
        seed("shared-lifetime", ok().cache_control("max-age=60, s-maxage=0"), UNUSABLE)
            .because("s-maxage=0")
            .fix("origin", "give-lifetime", "s-maxage=60")
            .mended(ok().cache_control("max-age=60, s-maxage=60")),
        seed("old-from-elsewhere", fresh().header("age", "500").header("via", "1.1 other"), UNUSABLE)
            .because("old from another cache")
            .fix("origin", "drop-age", "1.1 other")
            .mended(fresh()),
        seed("too-large", Answer::pattern(80 << 20, 1).cache_control("max-age=60"), ("miss", "uri-miss"))
            .because("too large")
            .fix("config", "larger-tier", "16.0 MiB"),
        seed("failing", Answer::empty(503), UNUSABLE)
            .because("answers 503")
            .fix("origin", "mend-origin", "503")
            .mended(fresh()),
        seed("forbidden", Answer::empty(403), UNUSABLE)
            .because("status 403")
            .fix("origin", "give-lifetime", "with this status")
            .mended(Answer::empty(403).cache_control("max-age=60")),
        seed("down", Answer::hang_up(), ("error", "broken_body")).because("could not answer").fix(
            "origin",
            "mend-origin",
            "breaks off",
        ),
        seed("loose-parts", Answer::pattern(4 * BLOCK, 1).cache_control("max-age=60"), ("bypass", "status"))
            .before(&[("", &[("range", "bytes=0-9")])])
            .asked("GET", "", &[("range", "bytes=0-9")])
            .because("status 206")
            .fix("origin", "send-strong-etag", "strong ETag")
            .mended(Answer::pattern(4 * BLOCK, 1).cache_control("max-age=60").etag("\"1\"")),
        seed(
            "not-understood",
            ok().status(299).cache_control("must-understand, max-age=60"),
            ("bypass", "status"),
        )
        .because("status 299")
        .fix("origin", "drop-directive", "`must-understand`")
        .mended(ok().status(299).cache_control("max-age=60")),
        seed("validated-always", ok().cache_control("no-cache, max-age=60").etag("\"1\""), ("miss", "stale"))
            .because("validated at each use: Cache-Control: no-cache")
            .fix("origin", "drop-directive", "`no-cache`")
            .mended(fresh()),
        seed("never-asked", fresh(), ("miss", "uri-miss")).before(&[]).because("not stored").fix(
            "nobody",
            "ask-once",
            "nobody has asked",
        ),
    ]
}
