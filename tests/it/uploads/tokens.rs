//! Tokens that are good below a path only, on an admin port that others can reach.

use super::{SECRET, server, token};
use crate::edge::client;

#[tokio::test]
async fn what_is_below_no_path_is_not_for_tokens_that_are() {
    let edge = server(|raw| raw.server.admin = "0.0.0.0:0".to_owned()).await;
    let everywhere = token("admin", None);
    let below = token("admin", Some("/assets/team"));
    for (method, target, body, for_all) in [
        ("GET", "/api/v1/cache/stats", "", 200),
        ("GET", "/api/v1/cache/hot", "", 200),
        ("GET", "/api/v1/cache/warm", "", 200),
        ("GET", "/api/v1/origins", "", 200),
        ("GET", "/api/v1/cache/explain?url=/assets/other/x", "", 200),
        ("POST", "/api/v1/purge", "{\"tags\":[\"t\"]}", 200),
        ("POST", "/api/v1/purge", "{\"all\":true}", 200),
        ("POST", "/api/v1/purge", "{\"prefixes\":[\"/assets\"]}", 200),
        ("POST", "/api/v1/purge", "{\"urls\":[\"/assets/teams/x\"]}", 200),
        ("POST", "/api/v1/drain", "", 200),
    ] {
        for (token, status) in [("Bearer no", 401), (&*below, 403), (&*everywhere, for_all)] {
            let fields = [("authorization", token), ("content-type", "application/json")];
            let reply =
                client::open(edge.admin(), method, target, &fields, body.as_bytes()).await.whole().await;
            assert_eq!(reply.status, status, "{method} {target}: {}", reply.text());
            assert!(!reply.text().contains(SECRET));
        }
    }
    // What is below it, is.
    for (body, status) in
        [("{\"urls\":[\"/assets/team/x\"]}", 200), ("{\"prefixes\":[\"/assets/team\"]}", 200)]
    {
        let fields = [("authorization", &*below), ("content-type", "application/json")];
        let reply =
            client::open(edge.admin(), "POST", "/api/v1/purge", &fields, body.as_bytes()).await.whole().await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
    }
}
