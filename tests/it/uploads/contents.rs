//! What is found in assets that have been stored, and how those are served that are not to be shown.

use std::process::Command;

use serde_json::{Value, json};

use super::{send, server};
use crate::edge::{Edge, eventually, images::jpeg};

/// Half as long as it is wide, with a second and a half of sound and pictures.
fn film() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mp4");
    let inputs = ["-f", "lavfi", "-i", "testsrc2=size=320x160:rate=20:duration=1.5", "-f", "lavfi", "-i"];
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error"])
        .args(inputs)
        .args(["sine=duration=1.5", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-c:a", "aac"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(path).unwrap()
}

async fn listed(edge: &Edge, key: &str) -> Value {
    let reply = edge.admin_get(&format!("/api/v1/assets?prefix={key}")).await;
    serde_json::from_slice::<Value>(&reply.body).unwrap()["assets"][0].clone()
}

#[tokio::test]
async fn what_is_in_an_asset_is_listed_with_it() {
    let mut edge = server(|_| {}).await;
    let picture = jpeg(80, 60, 7);
    let film = film();
    for (key, body) in [
        ("film.mp4", &film[..]),
        ("picture.jpg", &picture),
        ("text.txt", b"text"),
        ("broken.mp4", &film[..film.len() / 2]),
        ("broken.jpg", &picture[..20]),
    ] {
        let put = send(&edge, "PUT", &format!("/assets/{key}"), &[], body).await;
        assert_eq!(put.status, 201, "{key} {}", put.text());
        eventually("looked into", async || listed(&edge, key).await["probed"] == json!(true)).await;
    }
    let found = listed(&edge, "film.mp4").await;
    let length = found["duration_ms"].as_u64().unwrap();
    assert!((1450..1600).contains(&length), "{found}");
    assert_eq!((&found["width"], &found["height"]), (&json!(320), &json!(160)));
    let codecs = found["codecs"].to_string();
    assert!(codecs.contains("avc1.") && codecs.contains("mp4a.40.2"), "{found}");
    let found = listed(&edge, "picture.jpg").await;
    assert_eq!((&found["width"], &found["height"], &found["codecs"]), (&json!(80), &json!(60), &json!([])));
    for key in ["text.txt", "broken.mp4", "broken.jpg"] {
        let found = listed(&edge, key).await;
        assert_eq!((&found["width"], &found["duration_ms"]), (&Value::Null, &Value::Null), "{key}");
    }
    edge.restart().await;
    assert_eq!(listed(&edge, "film.mp4").await["duration_ms"], json!(length));
}

#[tokio::test]
async fn what_could_do_harm_is_served_to_be_saved() {
    let edge = server(|raw| raw.uploads.risky_types = true).await;
    for (key, body, attachment) in [
        ("page.html", &b"<!doctype html><script>alert(1)</script>"[..], true),
        ("run.sh", b"#!/bin/sh\necho", true),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", true),
        ("plain.txt", b"<- text", false),
    ] {
        let put = send(&edge, "PUT", &format!("/assets/{key}"), &[], body).await;
        assert_eq!(put.status, 201, "{key} {}", put.text());
        let got = edge.get(&format!("/assets/{key}")).await;
        assert_eq!(got.field("x-content-type-options"), "nosniff", "{key}");
        assert_eq!(got.field("content-disposition"), if attachment { "attachment" } else { "" }, "{key}");
        let policy = got.field("content-security-policy");
        let shut_in = ["sandbox", "default-src 'none'"].iter().all(|part| policy.contains(part));
        assert_eq!((shut_in, policy.is_empty()), (attachment, !attachment), "{key} {policy}");
    }
}
