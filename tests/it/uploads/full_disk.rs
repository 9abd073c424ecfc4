//! Uploads into a store that is full, on a small filesystem of its own.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    SECRET, token,
    tus::{PIECE, VERSION, metadata},
};
use crate::{
    edge::{
        client::{self, Reply},
        killed::{BINARY, Program},
    },
    origin_double::OriginDouble,
};

/// Less than a draft gathers before it is written, so that a request has come to its end when it fails.
const LENGTH: usize = 1_000_000;

/// A program in a mount namespace of its own, with a filesystem of 8 MiB for its assets. None where that is not allowed.
fn on_small_filesystem(origin: &OriginDouble, dir: &Path) -> Option<(Program, PathBuf)> {
    let assets = dir.join("assets");
    fs::create_dir(&assets).unwrap();
    let mut possible = Command::new("unshare");
    possible.args(["-Urm", "mount", "-t", "tmpfs", "tmpfs"]).arg(&assets).stderr(Stdio::null());
    if !possible.status().is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", "mount -t tmpfs -o size=8m tmpfs \"$0\" && exec \"$@\""]).arg(&assets);
    command.arg(BINARY).env("MILLRACE__ACCESS__SECRET", SECRET);
    let program = Program::start_by(command, origin, dir);
    let inside = Path::new("/proc").join(program.child.id().to_string()).join("root");
    let inside = inside.join(assets.strip_prefix("/").unwrap());
    Some((program, inside))
}

async fn send(program: &Program, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
    let token = token("upload", None);
    let mut all = vec![("authorization", &*token)];
    all.extend_from_slice(fields);
    client::open(program.data, method, target, &all, body).await.whole().await
}

/// All but so many bytes.
fn fill(inside: &Path, left: u64) -> PathBuf {
    let path = inside.join("filler");
    let mut file = File::create(&path).unwrap();
    let free = || {
        let stat = rustix::fs::statvfs(inside).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    while free() > left {
        file.write_all(&[1; 4096]).unwrap();
    }
    path
}

fn files(inside: &Path, part: &str) -> usize {
    let entries = fs::read_dir(inside.join(part)).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { fs::read_dir(path).unwrap().count() } else { 1 }).sum()
}

#[tokio::test]
async fn a_full_store_refuses_and_loses_nothing() {
    let origin = OriginDouble::start().await;
    let dir = tempfile::tempdir().unwrap();
    let Some((program, inside)) = on_small_filesystem(&origin, dir.path()) else {
        return assert!(std::env::var_os("CI").is_none(), "mounting is not allowed here");
    };
    let body = vec![b'x'; LENGTH];
    let length = LENGTH.to_string();
    assert_eq!(send(&program, "PUT", "/assets/a", &[], b"before").await.status, 201);
    let meta = metadata("b");
    let begin = [VERSION, ("upload-length", &*length), ("upload-metadata", &*meta), ("content-length", "0")];
    let at = send(&program, "POST", "/files/", &begin, b"").await.field("location").to_owned();
    let piece = [VERSION, PIECE, ("upload-offset", "0")];
    let form = [
        b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"c\"\r\n\r\n",
        &body[..],
        b"\r\n--x--\r\n",
    ]
    .concat();
    let kind = [("content-type", "multipart/form-data; boundary=x")];
    let filler = fill(&inside, 400_000);
    for (method, target, fields, body) in [
        ("PUT", "/assets/a", &[][..], &body),
        ("PUT", "/assets/new", &[], &body),
        ("PATCH", &*at, &piece, &body),
        ("POST", "/assets/", &kind, &form),
    ] {
        let refused = send(&program, method, target, fields, body).await;
        assert_eq!(refused.status, 507, "{method} {target}: {}", refused.text());
        assert_eq!(refused.field("content-type"), "application/problem+json");
        assert_eq!(program.get("/assets/a").await.text(), "before", "{method} {target}");
    }
    let head = send(&program, "HEAD", &at, &[VERSION], b"").await;
    assert_eq!(
        (head.status, head.field("upload-offset")),
        (200, "0"),
        "what could not be kept is sent again"
    );
    for target in ["/assets/new", "/assets/b", "/assets/c"] {
        assert_eq!(program.get(target).await.status, 404, "{target}");
    }
    // The draft of the upload that was begun, and the asset.
    assert_eq!((files(&inside, "drafts"), files(&inside, "blobs")), (1, 1));
    // Who asks before sending what there is no room for need not send it.
    let announced = [("expect", "100-continue"), ("content-length", "9000000")];
    assert_eq!(send(&program, "PUT", "/assets/long", &announced, b"").await.status, 507);
    // What there is room for is taken, and all of it when there is room again.
    assert_eq!(send(&program, "PUT", "/assets/small", &[], b"fits").await.status, 201);
    fs::remove_file(filler).unwrap();
    assert_eq!(send(&program, "PUT", "/assets/a", &[], &body).await.status, 204);
    assert_eq!(send(&program, "PATCH", &at, &piece, &body).await.status, 204);
    assert_eq!(send(&program, "POST", "/assets/", &kind, &form).await.status, 201);
    for target in ["/assets/a", "/assets/b", "/assets/c"] {
        assert!(program.get(target).await.body == body, "{target}");
    }
}
