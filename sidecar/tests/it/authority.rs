//! Who may see and change what, by the name it asks for and the page it comes from. All requests come from this machine.

use millrace_kit::clock::Clock;

use crate::harness::{Rig, START, start};

const SILENCE: &str = r#"{"matchers":[{"name":"alertname","value":"X","isRegex":false}],
    "startsAt":"2026-01-01T00:00:00Z","endsAt":"2026-01-01T01:00:00Z","createdBy":"ops","comment":"c"}"#;

fn rig(folder: &tempfile::TempDir) -> Rig {
    let toml = "targets = []\n[http]\ntoken = 'hush'\nhosts = ['Ops.Example']\nexternal_url = 'https://edge.example/ops'\n";
    start(&folder.path().join("data"), toml, &Clock::manual(START)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_to_see_is_not_for_names_that_a_page_may_have_made_lead_here() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&folder);
    let address = rig.url().trim_start_matches("http://").to_owned();
    let port = address.rsplit(':').next().unwrap();
    let local = format!("localhost:{port}");
    let foreign = format!("evil.example:{port}");
    for path in [
        "/",
        "/metrics",
        "/status",
        "/api/v1/query?query=up",
        "/api/v1/events",
        "/api/v2/silences",
        "/nothing",
    ] {
        let refused = rig.get_with(path, &[("host", &foreign)]).await;
        assert_eq!(refused.status(), 421, "{path}");
        assert!(refused.text().await.unwrap().contains("http.hosts"), "{path}");
    }
    for (fields, status) in [
        (vec![], 200),
        (vec![("host", local.as_str())], 200),
        (vec![("host", "[::1]:8090")], 200),
        (vec![("host", "10.0.0.7")], 200),
        (vec![("host", "ops.example:8090")], 200),
        (vec![("host", "OPS.example.")], 200),
        (vec![("host", "edge.example")], 200),
        (vec![("host", "ops.example.evil")], 421),
        (vec![("host", "127.0.0.1.evil.example")], 421),
        (vec![("host", &foreign), ("x-forwarded-for", "10.0.0.7")], 421),
        (vec![("host", &foreign), ("x-forwarded-host", "localhost")], 421),
        (vec![("host", &foreign), ("authorization", "Bearer wrong")], 421),
        (vec![("host", &foreign), ("authorization", "Bearer hush")], 200),
    ] {
        assert_eq!(rig.get_with("/api/v1/query?query=1", &fields).await.status(), status, "{fields:?}");
    }
    assert_ne!(rig.get_with("/health/live", &[("host", &foreign)]).await.status(), 421);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&folder);
    let foreign = "http://evil.example";
    let own = rig.url().to_owned();
    for (fields, status) in [
        (vec![("origin", foreign)], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site")], 403),
        // A token does not help a page that has got hold of a browser that knows it.
        (vec![("sec-fetch-site", "cross-site"), ("authorization", "Bearer hush")], 403),
        (vec![("host", "evil.example"), ("origin", foreign)], 421),
        (vec![("x-forwarded-for", "10.0.0.7")], 403),
        (vec![("x-forwarded-for", "10.0.0.7"), ("authorization", "Bearer hush")], 200),
        (vec![("origin", own.as_str()), ("sec-fetch-site", "same-origin")], 200),
        (vec![("host", "ops.example"), ("origin", "https://ops.example")], 200),
        (vec![], 200),
    ] {
        let answer = rig.post_with("/api/v2/silences", &fields, SILENCE).await;
        assert_eq!(answer.status(), status, "{fields:?}");
        let answer = rig.post_with("/-/reload", &fields, "").await;
        assert_eq!(answer.status(), status, "reload, {fields:?}");
    }
    // Those that were let in, and no other.
    let silences = rig.json("/api/v2/silences").await;
    assert_eq!(silences.as_array().unwrap().len(), 4);
    rig.stop().await;
}
