//! The dashboard's files as they are served. What they do in a browser is tested elsewhere.

use millrace_kit::clock::Clock;

use crate::{
    alerts::toml,
    harness::{START, start},
    http_double::Double,
};

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
    let script = rig.get("/ui/dashboard.js").await.text().await.unwrap();
    let modules = script.split("from './").skip(1).filter_map(|rest| rest.split('\'').next());
    files.extend(modules.map(|name| format!("/ui/{name}")));
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let response = rig.get(&file).await;
        assert_eq!(response.status().as_u16(), 200, "{file}");
        let kind = response.headers()["content-type"].to_str().unwrap();
        let expected = match file.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(kind, expected, "{file}");
    }
    assert_eq!(rig.get("/ui/../Cargo.toml").await.status().as_u16(), 404);
    assert_eq!(rig.get("/ui/none.js").await.status().as_u16(), 404);
    rig.stop().await;
}
