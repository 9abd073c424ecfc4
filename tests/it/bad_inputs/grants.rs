//! Section F, rows F5 to F8: who gets in with what, at every door.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use millrace::{admission::Secret, config::raw};
use serde_json::json;

use crate::{
    edge::{Edge, client, http_origin},
    origin_double::{Answer, OriginDouble},
    uploads::{SECRET, files, server, token},
};

/// A token by hand: its head and claims as they are said, signed with this key as HS256.
fn made(head: &serde_json::Value, claims: &serde_json::Value, key: &[u8]) -> String {
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(head), part(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// (row, `Authorization` lines, status): with each of them, everything is refused alike.
fn bad() -> Vec<(&'static str, Vec<String>, u16)> {
    let far = 9_000_000_000_i64;
    let head = json!({ "alg": "HS256", "typ": "JWT" });
    let claims = json!({ "exp": far, "scope": "admin" });
    let good = made(&head, &claims, SECRET.as_bytes());
    let (message, tag) = good.rsplit_once('.').unwrap();
    let with = |head: serde_json::Value| vec![format!("Bearer {}", made(&head, &claims, SECRET.as_bytes()))];
    let said =
        |claims: serde_json::Value| vec![format!("Bearer {}", made(&head, &claims, SECRET.as_bytes()))];
    vec![
        ("F5 none", vec![], 401),
        ("F5 alg none", vec![format!("Bearer {}.", message)], 401),
        ("F5 alg none, said so", with(json!({ "alg": "none" })), 401),
        ("F5 alg of a public key", with(json!({ "alg": "RS256" })), 401),
        ("F5 alg of another secret's", with(json!({ "alg": "HS512" })), 401),
        ("F5 alg in lower case", with(json!({ "alg": "hs256" })), 401),
        ("F5 kid of a path", with(json!({ "alg": "HS256", "kid": "../../../dev/null" })), 401),
        ("F5 kid of SQL", with(json!({ "alg": "HS256", "kid": "' OR '1'='1" })), 401),
        (
            "F5 key brought along",
            with(json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "AA" }, "kid": "x" })),
            401,
        ),
        (
            "F5 extension that must be known",
            with(json!({ "alg": "HS256", "crit": ["b64"], "b64": false })),
            401,
        ),
        ("F5 empty key", vec![format!("Bearer {}", made(&head, &claims, b""))], 401),
        ("F5 over", said(json!({ "exp": 1000, "scope": "admin" })), 401),
        ("F5 without an end", said(json!({ "scope": "admin" })), 401),
        ("F5 not yet", said(json!({ "exp": far, "nbf": far - 1, "scope": "admin" })), 401),
        ("F5 made in the future", said(json!({ "exp": far, "iat": far - 1, "scope": "admin" })), 401),
        ("F5 for others", said(json!({ "exp": far, "aud": "others", "scope": "admin" })), 401),
        ("F5 huge", vec![format!("Bearer {}", "x".repeat(5000))], 401),
        ("F5 two", vec![format!("Bearer {good}"), format!("Bearer {good}")], 401),
        ("F5 good and bad in one", vec![format!("Bearer {good}, Bearer x")], 401),
        ("F5 as a password", vec![format!("Basic {good}")], 401),
        ("F5 signature of another", vec![format!("Bearer {message}.{}", tag.to_ascii_uppercase())], 401),
        ("F6 without a scope", said(json!({ "exp": far, "scope": "" })), 403),
        ("F6 another scope", said(json!({ "exp": far, "scope": "administrator upload-all readonly" })), 403),
        (
            "F6 below another path",
            said(json!({ "exp": far, "scope": "upload read purge", "prefix": "/assets/ab" })),
            403,
        ),
        (
            "F6 a prefix that climbs",
            said(json!({ "exp": far, "scope": "upload read purge", "prefix": "/assets/x/../.." })),
            403,
        ),
    ]
}

#[tokio::test]
async fn nobody_gets_in_with_what_only_looks_like_a_token() {
    let origin = OriginDouble::start().await;
    origin.on("/team/x", Answer::ok("kept").cache_control("max-age=60"));
    let edge = server(|raw| {
        raw.origins = vec![http_origin(&origin.url())];
        raw.limits.failures_per_minute = 0;
        let (path, access) = ("/team".to_owned(), raw::RouteAccess::Token);
        raw.routes = vec![raw::Route { path, access, ..Default::default() }];
    })
    .await;
    let doors = [
        ("PUT", "/assets/a/x", &[][..], &b"new"[..]),
        ("DELETE", "/assets/a/x", &[], b""),
        (
            "POST",
            "/assets/",
            &[("content-type", "multipart/form-data; boundary=x")],
            b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.txt\"\r\n\r\ny\r\n--x--\r\n",
        ),
        (
            "POST",
            "/files/",
            &[("tus-resumable", "1.0.0"), ("upload-length", "1"), ("upload-metadata", "key YS94")],
            b"",
        ),
        ("PURGE", "/team/x", &[], b""),
        ("GET", "/team/x", &[], b""),
    ];
    let mut faults = Vec::new();
    for (row, lines, status) in bad() {
        for (method, target, fields, body) in doors {
            let mut all: Vec<_> = lines.iter().map(|line| ("authorization", line.as_str())).collect();
            all.extend_from_slice(fields);
            if body.is_empty() {
                all.push(("content-length", "0"));
            }
            let reply = client::open(edge.data(), method, target, &all, body).await.whole().await;
            let challenged = reply.field("www-authenticate").starts_with("Bearer ");
            let told = reply.text().contains(SECRET) || lines.iter().any(|line| reply.text().contains(line));
            if reply.status != status || !challenged || told {
                faults.push(format!("{row}: {method} {target}: {} {}", reply.status, reply.text()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(files(&edge), [""; 0]);
    assert_eq!(origin.hits("/team/x"), 0);
    let query = format!("/team/x?access_token={}", token("admin", None).replace("Bearer ", ""));
    assert_eq!(edge.get(&query).await.status, 401, "F5 in the query");
    let good = [("authorization", &*token("admin", None))];
    assert_eq!(edge.send("GET", "/team/x", &good).await.status, 200, "and who is good gets in");
}

/// Row F6: a signature for a folder is for what lies in it, however the way out of it is written.
#[tokio::test]
async fn a_signed_folder_has_no_way_out() {
    let origin = OriginDouble::start().await;
    origin.on_any(Answer::ok("reached").cache_control("max-age=60"));
    let edge = server(|raw| {
        raw.origins = vec![http_origin(&origin.url())];
        raw.limits.failures_per_minute = 0;
        let (path, access) = ("/films".to_owned(), raw::RouteAccess::Signed);
        raw.routes = vec![raw::Route { path, access, ..Default::default() }];
    })
    .await;
    let secret = Secret::new(SECRET).unwrap();
    let signed = secret.sign_directory("/films/mine/master.m3u8", "", 9_000_000_000).unwrap();
    let front = signed.strip_suffix("/films/mine/master.m3u8").unwrap();
    let mut faults = Vec::new();
    for (path, statuses) in [
        ("/films/mine/seg-1.m4s", &[200][..]),
        ("/films/mine/%73eg-1.m4s", &[200]),
        ("/films/other/a", &[403]),
        ("/films/mine", &[403]),
        ("/films/mineral/a", &[403]),
        ("/films/mine/../other/a", &[400]),
        ("/films/mine/%2e%2e/other/a", &[400]),
        ("/films/mine/.%2E/other/a", &[400]),
        ("/films/mine/..%2fother/a", &[400]),
        ("/films/mine/x%2f..%2f..%2fother/a", &[400]),
        ("/films/mine/..%5cother/a", &[400]),
        ("/films/mine/..;/other/a", &[400]),
        ("/films/mine/..;a=b/other/a", &[400]),
        ("/films/mine/..%3B/other/a", &[400]),
        ("/films/mine/..%3b/other/a", &[400]),
        ("/films/mine/..%3ba=b/other/a", &[400]),
        ("/films/mine/.;/a", &[400]),
        ("//films/other/a", &[403]),
        ("/films//other/a", &[403]),
        ("/films;x/other/a", &[403]),
        ("/films%2Fother/a", &[403]),
        ("/%66ilms/other/a", &[403]),
        ("/cdn-cgi/image/w=9/films/other/a.jpg", &[403]),
        ("/img/_/w:9/plain/films/other/a.jpg", &[403]),
        // A second signature is none: it is an address that nobody has.
        ("/_millrace/s/9000000000.2..AAAA/films/mine/a", &[403, 404]),
    ] {
        let reply = edge.send("GET", &format!("{front}{path}"), &[]).await;
        if !statuses.contains(&reply.status) {
            faults.push(format!("{path}: {}", reply.status));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(origin.requests("/films/other/a").is_empty());
    // Without any signature, as origins of several kinds may read it.
    for path in [
        "/films/x",
        "//films/x",
        "/open/..;/films/x",
        "/open/..%3B/films/x",
        "/open/..%3b/films/x",
        "/./films/x",
        "/films;/x",
        "/films;a=b/x",
        "/films%2fx",
        "/films%3b/x",
    ] {
        let status = edge.send("GET", path, &[]).await.status;
        assert!(matches!(status, 400 | 403), "{path}: {status}");
    }
}

/// Row F7: nothing on the admin port that tells or changes something is for those without a token, once others can reach it.
#[tokio::test]
async fn the_admin_port_asks_strangers_for_a_token() {
    let edge = server(|raw| {
        raw.server.admin = "0.0.0.0:0".to_owned();
        raw.limits.failures_per_minute = 0;
    })
    .await;
    let described: serde_json::Value =
        serde_json::from_slice(&edge.admin_get("/openapi.json").await.body).unwrap();
    // For probes and scrapers, and what only describes.
    let open = ["/health", "/healthz", "/livez", "/readyz", "/metrics", "/openapi.json"];
    let mut asked = 0;
    for (path, operations) in described["paths"].as_object().unwrap() {
        let is_open = open.iter().any(|open| path == open || path.starts_with("/health/"));
        for method in operations.as_object().unwrap().keys() {
            let (method, target) = (method.to_uppercase(), path.replace("{id}", "none"));
            for token in ["", "Bearer guessed"] {
                let fields = [("authorization", token), ("content-length", "0")];
                let fields = if token.is_empty() { &fields[1..] } else { &fields[..] };
                let reply = client::open(edge.admin(), &method, &target, fields, b"").await.whole().await;
                assert_eq!(reply.status == 401, !is_open, "{method} {target}: {}", reply.status);
            }
            asked += 1;
        }
    }
    assert!(asked > 15, "{asked}");
}

/// Who may list what lies below a folder is not told of its neighbours.
#[tokio::test]
async fn lists_end_at_the_prefix_of_their_token() {
    let edge: Edge = server(|raw| raw.server.admin = "0.0.0.0:0".to_owned()).await;
    for key in ["a/1", "ab/2", "a"] {
        let all = [("authorization", &*token("upload", None))];
        let put = client::open(edge.data(), "PUT", &format!("/assets/{key}"), &all, b"x").await.whole().await;
        assert_eq!(put.status, 201, "{}", put.text());
    }
    let below = token("read", Some("/assets/a"));
    for (query, status) in [
        ("", 403),
        ("?prefix=", 403),
        ("?prefix=a", 403),
        ("?prefix=ab", 403),
        ("?prefix=a/../ab", 200),
        ("?prefix=a/", 200),
        ("?prefix=a/1", 200),
    ] {
        let target = format!("/api/v1/assets{query}");
        let fields = [("authorization", &*below)];
        let reply = client::open(edge.admin(), "GET", &target, &fields, b"").await.whole().await;
        assert_eq!(reply.status, status, "{query}: {}", reply.text());
        assert!(!reply.text().contains("ab/2"), "{query}");
    }
}
