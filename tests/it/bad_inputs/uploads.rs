//! Section F, rows F1 to F4: what is sent to be stored.

use std::cell::Cell;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    edge::{Edge, eventually},
    uploads::{files, send, server},
};

const VERSION: (&str, &str) = ("tus-resumable", "1.0.0");
const PIECE: (&str, &str) = ("content-type", "application/offset+octet-stream");

/// All but letters, digits and what stands between segments.
const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'/');

fn digest(body: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    format!("sha-256=:{}:", STANDARD.encode(digest))
}

/// Row F3: what is no key, by each of the ways in which a key is told.
#[tokio::test]
async fn what_is_no_name_names_nothing() {
    let edge = server(|_| {}).await;
    // Where a path cannot say it in another way than encoded, it is encoded.
    for (row, key) in [
        ("F3 dots", "../x"),
        ("F3 dots within", "a/../x"),
        ("F3 one dot", "./x"),
        ("F3 a slash in front", "/etc/passwd"),
        ("F3 two slashes", "a//b"),
        ("F3 a slash at the end", "a/"),
        ("F3 NUL", "a\0b"),
        ("F3 line ends", "a\r\nX-Evil: 1"),
        ("F3 escape sequence", "a\u{1b}[31m"),
        ("F3 2 KiB", &*"x/".repeat(1024)),
        ("F3 one long segment", &*"x".repeat(300)),
        ("F3 a device", "con"),
        ("F3 a device with an extension", "films/aux.mp4"),
        ("F3 a drive", "C:/x"),
        ("F3 a stream of a file", "a.txt::$DATA"),
        ("F3 a backslash", "a\\b"),
        ("F3 dots that look alike", "\u{ff0e}\u{ff0e}/x"),
        ("F3 a slash that looks alike", "a\u{2215}b"),
        ("F3 letters backwards", "a\u{202e}gpj.exe"),
        ("F3 nothing to see", "a\u{200b}b"),
        ("F3 a dot at the end", "a."),
        ("F3 a space at the end", "a "),
        ("F3 a space in front", " a"),
        ("F3 wildcards", "a*?b"),
        ("F3 empty", ""),
    ] {
        let encoded = percent_encoding::utf8_percent_encode(key, ENCODED);
        let put = send(&edge, "PUT", &format!("/assets/{encoded}"), &[], b"x").await;
        // Longer addresses than 8 KiB are no requests.
        assert!(matches!(put.status, 400 | 414), "{row}: {} {}", put.status, put.text());
        let metadata = format!("key {}", STANDARD.encode(key));
        let fields = [VERSION, ("upload-length", "1"), ("upload-metadata", &metadata)];
        let begun = send(&edge, "POST", "/files/", &fields, b"").await;
        assert_eq!(begun.status, 400, "{row}: {}", begun.text());
        for reply in [put, begun] {
            assert_eq!(reply.field("content-type"), "application/problem+json", "{row}");
            assert!(!reply.text().contains(['\r', '\u{1b}', '\0']), "{row}");
        }
    }
    assert_eq!(files(&edge), [""; 0]);
}

/// Row F4: what is told of the type, what it is, and what becomes of it, with and without risky types.
#[tokio::test]
async fn types_that_lie_or_could_do_harm() {
    let strict = server(|_| {}).await;
    let lax = server(|raw| raw.uploads.risky_types = true).await;
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    // (row, told, bytes, refused in any case, to be saved)
    for (row, told, bytes, lies, harmful) in [
        ("F4 HTML", "text/html", &b"<!doctype html><script>1</script>"[..], false, true),
        ("F4 HTML as a picture", "image/png", b"<html><script>1</script>", true, true),
        ("F4 HTML as text", "text/plain", b"  <script>alert(1)</script>", true, true),
        ("F4 a program", "application/octet-stream", b"\x7fELF\x02\x01\x01", false, true),
        ("F4 a program of Windows", "application/octet-stream", b"MZ\x90\0\x03\0\0\0", false, true),
        ("F4 a script", "text/plain", b"#!/bin/sh\nrm -rf /", true, true),
        ("F4 a picture as a film", "video/mp4", png, true, false),
        ("F4 a picture as HTML", "text/html", png, true, false),
        ("F4 a picture", "image/png", png, false, false),
    ] {
        let fields = [("content-type", told)];
        let status = send(&strict, "PUT", "/assets/x", &fields, bytes).await.status;
        assert_eq!(status, if lies || harmful { 415 } else { 201 }, "{row}");
        let put = send(&lax, "PUT", "/assets/x", &fields, bytes).await;
        if put.status == 415 {
            assert!(lies, "{row}: {}", put.text());
            continue;
        }
        let got = lax.get("/assets/x").await;
        assert_eq!(got.field("x-content-type-options"), "nosniff", "{row}");
        assert_eq!(got.field("content-disposition") == "attachment", harmful, "{row}");
        assert_eq!(got.field("content-security-policy").contains("sandbox"), harmful, "{row}");
        assert_eq!(send(&lax, "DELETE", "/assets/x", &[], b"").await.status, 204, "{row}");
    }
}

/// Row F1: two who write to one upload, and two who write to one key.
#[tokio::test]
async fn two_writers_leave_one_whole_asset() {
    let edge = server(|_| {}).await;
    let metadata = format!("key {}", STANDARD.encode("two.bin"));
    let fields = [VERSION, ("upload-length", "200000"), ("upload-metadata", &metadata)];
    let at = send(&edge, "POST", "/files/", &fields, b"").await.field("location").to_owned();
    let (ones, twos) = (vec![b'1'; 200_000], vec![b'2'; 200_000]);
    let patch = async |body: &[u8]| {
        let fields = [VERSION, PIECE, ("upload-offset", "0")];
        send(&edge, "PATCH", &at, &fields, body).await.status
    };
    let (first, second) = tokio::join!(patch(&ones), patch(&twos));
    let won = [first, second].iter().filter(|status| **status == 204).count();
    // Whoever comes later takes over or finds the offset moved; a client goes on from what HEAD says.
    assert!([first, second].iter().all(|status| matches!(status, 204 | 409 | 423)), "{first} {second}");
    let resumed = Cell::new(200_000);
    if won == 0 {
        // Until the server has let go of the one that it broke off.
        eventually("the rest is taken", async || {
            let head = send(&edge, "HEAD", &at, &[VERSION], b"").await;
            let told = head.field("upload-offset").to_owned();
            let Ok(offset) = told.parse::<usize>() else { return false };
            resumed.set(offset);
            let fields = [VERSION, PIECE, ("upload-offset", &*told)];
            send(&edge, "PATCH", &at, &fields, &twos[offset..]).await.status == 204
        })
        .await;
    }
    let body = edge.get("/assets/two.bin").await.body;
    assert_eq!(body.len(), 200_000);
    let (begun, rest) = body.split_at(resumed.get());
    assert!(begun == &ones[..begun.len()] || begun == &twos[..begun.len()], "of one writer alone");
    assert!(rest == &twos[..rest.len()], "and of the one that went on");
    assert_eq!(files(&edge).len(), 1);
}

/// Row F2: an owner's quota holds however many requests come at once, and what is refused leaves nothing.
#[tokio::test]
async fn a_quota_is_no_race() {
    let edge = server(|raw| raw.uploads.quota = "250000B".to_owned()).await;
    let puts = (0..12).map(async |number| {
        let body = vec![b'a' + number; 50_000];
        let digest = digest(&body);
        send(&edge, "PUT", &format!("/assets/q/{number}"), &[("content-digest", &*digest)], &body)
            .await
            .status
    });
    let statuses = futures_util::future::join_all(puts).await;
    let stored = statuses.iter().filter(|status| **status == 201).count();
    assert!(stored == 5 && statuses.iter().all(|status| matches!(status, 201 | 413)), "{statuses:?}");
    // In pieces, and from a form, there is no other door.
    let fields = [VERSION, ("upload-length", "1"), ("upload-metadata", "key eA==")];
    assert_eq!(send(&edge, "POST", "/files/", &fields, b"").await.status, 413);
    let form = b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"c\"\r\n\r\ny\r\n--x--\r\n";
    let kind = [("content-type", "multipart/form-data; boundary=x")];
    assert_eq!(send(&edge, "POST", "/assets/", &kind, form).await.status, 413);
    // What is replaced makes room for what replaces it.
    let full = statuses.iter().position(|status| *status == 201).unwrap();
    let target = format!("/assets/q/{full}");
    assert_eq!(send(&edge, "PUT", &target, &[], &[b'y'; 50_000]).await.status, 204);
    assert_eq!(send(&edge, "PUT", &target, &[], &[b'y'; 50_001]).await.status, 413);
    let metadata = format!("key {}", STANDARD.encode(format!("q/{full}")));
    let fields = [VERSION, PIECE, ("upload-length", "50000"), ("upload-metadata", &metadata)];
    let done = send(&edge, "POST", "/files/", &fields, &[b'z'; 50_000]).await;
    assert_eq!((done.status, done.field("upload-offset")), (201, "50000"), "{}", done.text());
    // Room comes back with what goes.
    assert_eq!(removed(&edge).await, 5);
    assert_eq!(send(&edge, "PUT", "/assets/again", &[], &[b'x'; 50_000]).await.status, 201);
    eventually("nothing else left", async || files(&edge).len() == 1).await;
}

async fn removed(edge: &Edge) -> usize {
    let mut removed = 0;
    for number in 0..12 {
        let deleted = send(edge, "DELETE", &format!("/assets/q/{number}"), &[], b"").await;
        removed += usize::from(deleted.status == 204);
    }
    removed
}
