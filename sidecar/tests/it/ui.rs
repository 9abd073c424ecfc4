//! The dashboard's files as they are served. What they do in a browser is tested elsewhere.

use std::{collections::BTreeSet, io::Read};

use millrace_kit::clock::Clock;

use crate::{
    alerts::toml,
    harness::{Rig, START, start},
    http_double::Double,
};

/// Over the wire, for a browser.
async fn page_bytes(rig: &Rig, path: &str) -> usize {
    let response = rig.get_with(path, &[("accept-encoding", "gzip, deflate, br")]).await;
    response.bytes().await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_compressed_for_those_who_take_it_and_known_by_their_tags() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start("").await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();
    for path in ["/", "/admin/scaling", "/ui/charts.js"] {
        let plain = rig.get(path).await;
        assert!(!plain.headers().contains_key("content-encoding"), "{path}");
        let short = rig.get_with(path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(short.headers()["content-encoding"], "gzip", "{path}");
        assert_eq!(short.headers()["vary"], "accept-encoding");
        let tag = short.headers()["etag"].to_str().unwrap().to_owned();
        assert_ne!(tag, plain.headers()["etag"].to_str().unwrap());
        let mut unpacked = String::new();
        let packed = short.bytes().await.unwrap();
        flate2::read::GzDecoder::new(&*packed).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain.text().await.unwrap(), "{path}");
        let again = rig.get_with(path, &[("accept-encoding", "gzip"), ("if-none-match", &tag)]).await;
        assert_eq!(again.status().as_u16(), 304, "{path}");
        let refused = rig.get_with(path, &[("accept-encoding", "gzip;q=0, identity")]).await;
        assert!(!refused.headers().contains_key("content-encoding"), "{path}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_complete_and_strict() {
    let folder = tempfile::tempdir().unwrap();
    let (target, receiver) = (Double::start("").await, Double::start("").await);
    let clock = Clock::manual(START);
    let rig = start(&folder.path().join("data"), &toml(folder.path(), &target, &receiver), &clock).unwrap();
    let page = rig.get("/").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let text = page.text().await.unwrap();
    assert!(
        !text.contains("<style") && !text.contains(" style=") && !text.contains("onclick"),
        "nothing inline"
    );

    let mut files: Vec<String> = Vec::new();
    for attribute in ["href=\"/ui/", "src=\"/ui/"] {
        let found = text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
        files.extend(found.map(|name| format!("/ui/{name}")));
    }
    let named: BTreeSet<String> = files.iter().cloned().collect();
    assert!(named.len() >= 20, "{named:?}");
    let mut weight = page_bytes(&rig, "/").await;
    for file in &named {
        let response = rig.get(file).await;
        assert_eq!(response.status().as_u16(), 200, "{file}");
        let kind = response.headers()["content-type"].to_str().unwrap();
        let expected = match file.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(kind, expected, "{file}");
        weight += page_bytes(&rig, file).await;
        // What is not named in the page is fetched late, one after another.
        let text = response.text().await.unwrap();
        for module in text.split("from '").skip(1).filter_map(|rest| rest.split('\'').next()) {
            let folder = file.rsplit_once('/').unwrap().0;
            let path = match module.strip_prefix("../") {
                Some(above) => format!("{}/{above}", folder.rsplit_once('/').unwrap().0),
                None => format!("{folder}/{}", module.trim_start_matches("./")),
            };
            assert!(named.contains(&path), "{file} imports {path}, which index.html does not preload");
        }
    }
    assert!(weight <= 250_000, "{weight} bytes over the wire");
    assert_eq!(rig.get("/ui/../Cargo.toml").await.status().as_u16(), 404);
    assert_eq!(rig.get("/ui/none.js").await.status().as_u16(), 404);
    rig.stop().await;
}
