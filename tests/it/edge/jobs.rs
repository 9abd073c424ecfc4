//! Jobs as those see them who send them: over the admin port, with the real ffmpeg, and with one that never ends.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use millrace::{
    admission::{Claims, Secret},
    config::{Raw, raw},
};
use serde_json::{Value, json};

use super::{
    Edge, Reply, client, eventually,
    killed::{BINARY, Program},
};
use crate::{origin_double::OriginDouble, uploads::database::Database};

const SECRET: &str = "a-secret-of-the-tests-0123456789-abcdef";

/// So many seconds of pictures with a tone of 440 Hz.
fn video(folder: &Path, name: &str, size: &str, seconds: u32) -> Vec<u8> {
    let path = folder.join(name);
    let picture = format!("testsrc2=size={size}:rate=25:duration={seconds}");
    let sound = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(path).unwrap()
}

/// A server that keeps assets and does jobs, in front of a folder.
async fn server(folder: &Path, settings: impl FnOnce(&mut Raw)) -> Edge {
    let url = folder.to_str().unwrap().to_owned();
    Edge::start_with(|raw| {
        raw.origins = vec![raw::Origin { url, ..Default::default() }];
        as_all_here(raw, settings);
    })
    .await
}

fn as_all_here(raw: &mut Raw, settings: impl FnOnce(&mut Raw)) {
    raw.access.secret.0 = SECRET.to_owned();
    raw.media.segment_secs = 2;
    raw.media.ladder = vec![raw::LadderStep { height: 96, kbps: 150 }];
    raw.jobs.scratch = "256MiB".to_owned();
    raw.jobs.threads = 1;
    raw.jobs.workers = 1;
    settings(raw);
}

fn token(scope: &str, sub: &str, prefix: Option<&str>) -> String {
    let claims = Claims {
        exp: i64::MAX / 2,
        scope: scope.to_owned(),
        sub: Some(sub.to_owned()),
        prefix: prefix.map(str::to_owned),
        ..Claims::default()
    };
    format!("Bearer {}", Secret::new(SECRET).unwrap().sign(&claims).unwrap())
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}", reply.text()))
}

async fn send(edge: &Edge, job: Value) -> String {
    let reply = edge.admin_post("/api/v1/jobs", &[], job.to_string().as_bytes()).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let id = body(&reply)["id"].as_str().unwrap().to_owned();
    assert_eq!(reply.field("location"), format!("/api/v1/jobs/{id}"));
    id
}

/// How a job is, as soon as it is in this state.
async fn becomes(admin: std::net::SocketAddr, id: &str, state: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let path = format!("/api/v1/jobs/{id}");
        let job = body(&client::open(admin, "GET", &path, &[("host", "localhost")], b"").await.whole().await);
        if job["state"] == state {
            return job;
        }
        let over = ["succeeded", "failed", "dead", "cancelled"].iter().any(|over| job["state"] == *over);
        assert!(!over && Instant::now() < deadline, "{job} never became {state}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Width, height, seconds and streams of what is served at a path.
async fn shape(edge: &Edge, folder: &Path, path: &str) -> (u64, u64, f64, usize) {
    let reply = edge.get(path).await;
    assert_eq!(reply.status, 200, "{path}");
    let file = folder.join("shape");
    fs::write(&file, &reply.body).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_streams", "-show_format"])
        .arg(&file)
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let streams = said["streams"].as_array().unwrap();
    let picture = streams.iter().find(|stream| stream["codec_type"] == "video").unwrap();
    let seconds = said["format"]["duration"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    (picture["width"].as_u64().unwrap(), picture["height"].as_u64().unwrap(), seconds, streams.len())
}

/// Of the tone in the file that was looked at last, in Hertz.
fn pitch(folder: &Path) -> f64 {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "info", "-i"])
        .arg(folder.join("shape"))
        .args([
            "-af",
            "astats=measure_perchannel=Zero_crossings_rate:measure_overall=none",
            "-f",
            "null",
            "-",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let rate = said.lines().find_map(|line| line.split_once("Zero crossings rate: ")).unwrap().1;
    rate.trim().parse::<f64>().unwrap() * 48_000.0 / 2.0
}

#[tokio::test]
async fn each_preset_makes_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    video(folder.path(), "a.mp4", "320x180", 4);
    video(folder.path(), "b.mkv", "180x180", 2);
    let edge = server(folder.path(), |_| {}).await;
    for (job, (width, height, seconds)) in [
        (json!({"preset": "crop-9x16", "focus": {"x": 0.2, "y": 0.5}}), (102, 180, 4.0)),
        (json!({"preset": "speed", "factor": 2}), (320, 180, 2.0)),
        (json!({"preset": "speed", "factor": 0.5}), (320, 180, 8.0)),
        (json!({"preset": "trim", "start": 1.5, "end": 3}), (320, 180, 1.5)),
        (json!({"preset": "trim", "start": 1, "end": 3, "exact": false}), (320, 180, 2.0)),
        (json!({"preset": "compress", "height": 90, "effort": "fast"}), (160, 90, 4.0)),
        (
            json!({"preset": "custom", "video": [{"filter": "rotate", "degrees": 90}, {"filter": "blur", "sigma": 2}],
                   "audio": [{"filter": "volume", "decibels": -6}]}),
            (180, 320, 4.0),
        ),
        (json!({"preset": "concat", "sources": ["/a.mp4", "/b.mkv"]}), (320, 180, 6.0)),
    ] {
        let mut job = job;
        job["output"] = json!("made/o.mp4");
        if job["preset"] != "concat" {
            job["source"] = json!("/a.mp4");
        }
        let told = becomes(edge.admin(), &send(&edge, job.clone()).await, "succeeded").await;
        assert_eq!(told["result"]["assets"][0]["path"], "/assets/made/o.mp4", "{told}");
        let found = shape(&edge, folder.path(), "/assets/made/o.mp4").await;
        assert_eq!((found.0, found.1, found.3), (width, height, 2), "{job}");
        assert!((found.2 - seconds).abs() < 0.2, "{job}: {found:?}");
        assert!((pitch(folder.path()) - 440.0).abs() < 15.0, "{job}: {}", pitch(folder.path()));
    }
    let set = json!({"preset": "thumbnail-set", "source": "/a.mp4", "output": "stills", "count": 3, "width": 64, "format": "webp"});
    let told = becomes(edge.admin(), &send(&edge, set).await, "succeeded").await;
    assert_eq!(told["result"]["assets"].as_array().map(Vec::len), Some(3), "{told}");
    let still = shape(&edge, folder.path(), "/assets/stills/0003.webp").await;
    assert_eq!((still.0, still.1), (64, 36));
    let listed = body(&edge.admin_get("/api/v1/assets").await);
    assert_eq!(listed["assets"].as_array().map(Vec::len), Some(4));
    assert!(listed["assets"].as_array().unwrap().iter().all(|asset| asset["owner"] == "operator"));
    assert_eq!(fs::read_dir(edge.directory().join("jobs/scratch")).unwrap().count(), 0);
}

#[tokio::test]
async fn sound_alone_is_made_of_films_and_of_sounds() {
    let folder = tempfile::tempdir().unwrap();
    video(folder.path(), "a.mp4", "160x90", 4);
    let output = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:sample_rate=48000:duration=2",
        ])
        .arg(folder.path().join("b.flac"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let edge = server(folder.path(), |_| {}).await;
    for (job, seconds) in [
        (json!({"preset": "compress", "source": "/a.mp4", "audio_kbps": 64}), 4.0),
        (json!({"preset": "trim", "source": "/a.mp4", "start": 1, "end": 3, "exact": false}), 2.0),
        (json!({"preset": "speed", "source": "/b.flac", "factor": 0.5}), 4.0),
        (json!({"preset": "concat", "sources": ["/b.flac", "/a.mp4"]}), 6.0),
    ] {
        let mut job = job;
        job["output"] = json!("made/o.m4a");
        becomes(edge.admin(), &send(&edge, job.clone()).await, "succeeded").await;
        let reply = edge.get("/assets/made/o.m4a").await;
        assert_eq!((reply.status, reply.field("content-type")), (200, "audio/m4a"), "{job}");
        fs::write(folder.path().join("shape"), &reply.body).unwrap();
        let said = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "stream=codec_name:format=duration", "-of", "csv=p=0"])
            .arg(folder.path().join("shape"))
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let (codecs, duration) = said.trim().split_once('\n').unwrap();
        assert_eq!(codecs, "aac", "{job}");
        assert!((duration.parse::<f64>().unwrap() - seconds).abs() < 0.2, "{job}: {said}");
        assert!((pitch(folder.path()) - 440.0).abs() < 15.0, "{job}: {}", pitch(folder.path()));
    }
    let pictures = json!({"preset": "compress", "source": "/b.flac", "output": "o.mp4"});
    let told = becomes(edge.admin(), &send(&edge, pictures).await, "failed").await;
    assert!(told["detail"].as_str().unwrap().contains(".m4a"), "{told}");
}

#[tokio::test]
async fn sources_that_will_not_do_fail_with_words() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("list.mp4"), "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n").unwrap();
    fs::write(folder.path().join("cut.mp4"), b"\0\0\0\x18ftypisom\0\0\0\0isommp41").unwrap();
    let edge = server(folder.path(), |_| {}).await;
    for (source, why) in [
        ("/none.mp4", "404"),
        ("/list.mp4", "no MP4, QuickTime, Matroska, WebM"),
        ("/cut.mp4", "cannot be processed"),
        ("/a.jpg?w=100", "source"),
    ] {
        let job = json!({"preset": "compress", "source": source, "output": "o.mp4"});
        if source.contains('?') {
            let reply = edge.admin_post("/api/v1/jobs", &[], job.to_string().as_bytes()).await;
            assert!(reply.status == 422 && reply.text().contains(why), "{}", reply.text());
            continue;
        }
        let told = becomes(edge.admin(), &send(&edge, job).await, "failed").await;
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains(why) && !detail.contains("scratch"), "{detail}");
        assert_eq!(told["attempts"], 1);
    }
    assert_eq!(edge.get("/assets/o.mp4").await.status, 404);
}

/// A program that says that it has begun, and goes on for ever; and the real ffprobe beside it.
fn endless(folder: &Path) -> PathBuf {
    let program = folder.join("ffmpeg");
    let text = "#!/bin/sh\necho out_time_us=1000000\nsleep 600 &\nwait\n";
    let written = Command::new("sh")
        .args(["-c", "printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\""])
        .arg(&program)
        .arg(text)
        .status();
    assert!(written.unwrap().success());
    let probe = Command::new("sh").args(["-c", "command -v ffprobe"]).output().unwrap();
    let probe = String::from_utf8(probe.stdout).unwrap();
    std::os::unix::fs::symlink(probe.trim(), folder.join("ffprobe")).unwrap();
    program
}

/// Processes that work in a folder, which may be gone.
fn working_in(folder: &Path) -> usize {
    let folder = folder.canonicalize().unwrap();
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)))
        .count()
}

#[tokio::test]
async fn a_job_is_followed_and_cancelling_it_ends_its_programs() {
    let (folder, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    video(folder.path(), "a.mp4", "160x90", 4);
    let program = endless(programs.path());
    let edge = server(folder.path(), |raw| raw.media.ffmpeg = program.to_str().unwrap().to_owned()).await;
    let id = send(&edge, json!({"preset": "compress", "source": "/a.mp4", "output": "o.mp4"})).await;
    let path = format!("/api/v1/jobs/{id}");
    let events = client::open(edge.admin(), "GET", &format!("{path}/events"), &[], b"").await;
    eventually("a job under way", async || {
        body(&edge.admin_get(&path).await)["progress"].as_f64().is_some_and(|done| done > 0.2)
    })
    .await;
    let scratch = edge.directory().join("jobs");
    eventually("both programs", async || working_in(&scratch) >= 2).await;
    let reply = client::open(edge.admin(), "DELETE", &path, &[], b"").await.whole().await;
    assert_eq!((reply.status, body(&reply)["state"].as_str()), (200, Some("cancelled")));
    eventually("no program any more", async || working_in(&scratch) == 0).await;
    let told = events.whole().await;
    assert_eq!(told.field("content-type"), "text/event-stream");
    let states: Vec<String> = told
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|json| serde_json::from_str::<Value>(json).unwrap()["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states.last().map(String::as_str), Some("cancelled"), "{states:?}");
    assert!(states.iter().any(|state| state == "running"), "{states:?}");
    let again = client::open(edge.admin(), "DELETE", &path, &[], b"").await.whole().await;
    assert_eq!(again.status, 409);
}

#[tokio::test]
async fn a_killed_server_takes_its_jobs_up_again() {
    let origin = OriginDouble::start().await;
    let (folder, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = video(folder.path(), "a.mp4", "160x90", 4);
    let dir = tempfile::tempdir().unwrap();
    let start = |ffmpeg: &str| {
        let mut command = Command::new(BINARY);
        command.env("MILLRACE__ACCESS__SECRET", SECRET).env("MILLRACE__MEDIA__FFMPEG", ffmpeg);
        Program::start_by(command, &origin, dir.path())
    };
    let program = start(endless(programs.path()).to_str().unwrap());
    let token = token("upload", "me", None);
    let fields = [("authorization", &*token)];
    let put = client::open(program.data, "PUT", "/assets/a.mp4", &fields, &bytes).await.whole().await;
    assert_eq!(put.status, 201, "{}", put.text());
    let job = json!({"preset": "trim", "source": "/assets/a.mp4", "output": "o.mp4", "end": 1}).to_string();
    let sent = client::open(program.admin, "POST", "/api/v1/jobs", &[("host", "localhost")], job.as_bytes())
        .await
        .whole()
        .await;
    let id = body(&sent)["id"].as_str().unwrap().to_owned();
    let scratch = dir.path().join("jobs");
    eventually("ffmpeg at work", async || working_in(&scratch) >= 2).await;
    drop(program);
    let program = start("ffmpeg");
    let told = becomes(program.admin, &id, "succeeded").await;
    assert_eq!(told["attempts"], 2);
    assert_eq!(working_in(&scratch), 0, "nothing is left of the server before");
    assert_eq!(fs::read_dir(scratch.join("scratch")).unwrap().count(), 0);
    assert_eq!(program.get("/assets/o.mp4").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_a_fleet_have_one_queue() {
    let mut database = Database::start().await;
    let (folder, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    video(folder.path(), "a.mp4", "160x90", 2);
    let (program, url) = (endless(programs.path()), database.url("postgres"));
    let mut one = server(folder.path(), |raw| {
        raw.jobs.database.0.clone_from(&url);
        raw.media.ffmpeg = program.to_str().unwrap().to_owned();
        // However busy the machine is, it is to have time to give back its job.
        raw.server.drain_timeout_secs = 60;
    })
    .await;
    let job = json!({"preset": "compress", "source": "/a.mp4", "output": "o.mp4"});
    let id = send(&one, job.clone()).await;
    let path = format!("/api/v1/jobs/{id}");
    becomes(one.admin(), &id, "running").await;
    // Another server knows of it, and takes it up when the first one stops.
    let two = one.sibling(|raw| as_all_here(raw, |raw| raw.jobs.database.0.clone_from(&url))).await;
    assert_eq!(body(&two.admin_get(&path).await)["state"], "running");
    let events = client::open(two.admin(), "GET", &format!("{path}/events"), &[], b"").await;
    one.ask_to_stop().await.unwrap().unwrap();
    let told = becomes(two.admin(), &id, "succeeded").await;
    assert_eq!(told["attempts"], 1, "what is given back does not count");
    assert_eq!(two.get("/assets/o.mp4").await.status, 200);
    let events = events.whole().await.text();
    assert!(events.contains("\"running\"") && events.contains("\"succeeded\""), "{events}");
    // Without the database, jobs are not taken for done.
    database.kill();
    let reply = two.admin_post("/api/v1/jobs", &[], job.to_string().as_bytes()).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(!reply.field("retry-after").is_empty() && !reply.text().contains("postgres"), "{}", reply.text());
}

#[tokio::test]
async fn what_is_said_is_checked_before_anything_is_done() {
    let (folder, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    video(folder.path(), "a.mp4", "160x90", 1);
    let program = endless(programs.path());
    let edge = server(folder.path(), |raw| {
        raw.media.ffmpeg = program.to_str().unwrap().to_owned();
        raw.jobs.queue = 2;
    })
    .await;
    let post = async |fields: &[(&str, &str)], body: &str| {
        edge.admin_post("/api/v1/jobs", fields, body.as_bytes()).await
    };
    for (job, status, says) in [
        ("", 400, "not a job"),
        ("[]", 400, "not a job"),
        (r#"{"preset":"shell"}"#, 400, "unknown variant"),
        (
            r#"{"preset":"trim","source":"/a","output":"o.mp4","end":1,"args":"-f lavfi"}"#,
            400,
            "unknown field `args`",
        ),
        (
            r#"{"preset":"trim","source":"/a","output":"o.mp4","end":1,"priority":"now"}"#,
            400,
            "unknown variant `now`",
        ),
        (r#"{"preset":"speed","source":"file:///etc/passwd","output":"../o","factor":9}"#, 422, "source: "),
        (r#"{"preset":"speed","source":"file:///etc/passwd","output":"../o","factor":9}"#, 422, "factor: "),
    ] {
        let reply = post(&[], job).await;
        assert_eq!(
            (reply.status, reply.field("content-type")),
            (status, "application/problem+json"),
            "{job}"
        );
        assert!(reply.text().contains(says), "{job}: {}", reply.text());
    }
    assert_eq!(post(&[], &format!("{{\"x\":\"{}\"}}", "x".repeat(70_000))).await.status, 413);
    assert_eq!(post(&[("origin", "https://evil.example")], "{}").await.status, 403);
    let good = r#"{"preset":"compress","source":"/a.mp4","output":"o.mp4"}"#;
    let first = post(&[("idempotency-key", "k")], good).await;
    let same = post(&[("idempotency-key", "k")], good).await;
    assert_eq!((first.status, same.status), (202, 200));
    assert_eq!(body(&first)["id"], body(&same)["id"]);
    let other = post(&[("idempotency-key", "k")], &good.replace("o.mp4", "p.mp4")).await;
    assert_eq!(other.status, 422);
    eventually("a job under way", async || edge.metric("millrace_jobs_running", &[]).await == 1).await;
    assert_eq!((post(&[], good).await.status, post(&[], good).await.status), (202, 202));
    let full = post(&[], good).await;
    assert_eq!((full.status, full.field("retry-after")), (503, "30"));
    assert_eq!(edge.metric("millrace_queue_depth", &["queue=\"jobs\""]).await, 2);
    let page = body(&edge.admin_get("/api/v1/jobs?limit=2").await);
    assert_eq!(page["jobs"].as_array().map(Vec::len), Some(2));
    let next = page["next"].as_str().unwrap();
    let page = body(&edge.admin_get(&format!("/api/v1/jobs?limit=2&after={next}")).await);
    assert_eq!((page["jobs"].as_array().map(Vec::len), &page["next"]), (Some(1), &Value::Null));
    assert_eq!(body(&edge.admin_get("/api/v1/jobs?state=running").await)["jobs"][0]["attempts"], 1);
    assert_eq!(edge.admin_get("/api/v1/jobs?state=odd").await.status, 400);
    assert_eq!(edge.admin_get("/api/v1/jobs/0123").await.status, 404);
}

#[tokio::test]
async fn a_token_is_for_its_owners_jobs_below_its_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let edge = server(folder.path(), |raw| {
        raw.server.admin = "0.0.0.0:0".to_owned();
        raw.jobs.per_owner = 1;
        // Nothing is to begin.
        raw.media.ffmpeg = "/nowhere/ffmpeg".to_owned();
    })
    .await;
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], edge.admin().port()));
    let post = async |token: &str, source: &str, output: &str| {
        let job = json!({"preset": "ladder", "source": source});
        let job = if output.is_empty() {
            job
        } else {
            json!({"preset": "compress", "source": source, "output": output})
        };
        let fields = [("authorization", token)];
        client::open(admin, "POST", "/api/v1/jobs", &fields, job.to_string().as_bytes()).await.whole().await
    };
    let (me, you, limited) = (
        token("upload", "me", None),
        token("upload", "you", None),
        token("upload", "shop", Some("/assets/shop")),
    );
    for (token, source, output, status) in [
        ("Bearer x", "/assets/a.mp4", "", 401),
        (&*self::token("read", "me", None), "/assets/a.mp4", "", 403),
        (&me, "/films/a.mp4", "", 403),
        (&me, "http://other.example/assets/a.mp4", "", 403),
        (&me, "/assets/../films/a.mp4", "", 403),
        (&limited, "/assets/a.mp4", "shop/o.mp4", 403),
        (&limited, "/assets/shop/a.mp4", "o.mp4", 403),
        (&limited, "/assets/shop/a.mp4", "shop/o.mp4", 202),
        (&me, "/assets/a.mp4", "", 202),
    ] {
        let reply = post(token, source, output).await;
        assert_eq!(reply.status, status, "{source} {output}: {}", reply.text());
    }
    let urgent = json!({"preset": "ladder", "source": "/assets/a.mp4", "priority": "high"}).to_string();
    let fields = [("authorization", &*me)];
    let urgent = client::open(admin, "POST", "/api/v1/jobs", &fields, urgent.as_bytes()).await.whole().await;
    assert_eq!(urgent.status, 403);
    let mine = async |token: &str, path: &str| {
        client::open(admin, "GET", path, &[("authorization", token)], b"").await.whole().await
    };
    let listed = body(&mine(&me, "/api/v1/jobs?owner=shop").await);
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["jobs"][0]["owner"], "me");
    let path = format!("/api/v1/jobs/{}", listed["jobs"][0]["id"].as_str().unwrap());
    assert_eq!((mine(&me, &path).await.status, mine(&you, &path).await.status), (200, 404));
    let everything = token_of_admin();
    assert_eq!(body(&mine(&everything, "/api/v1/jobs").await)["jobs"].as_array().map(Vec::len), Some(2));
}

fn token_of_admin() -> String {
    token("admin", "boss", None)
}

#[tokio::test]
async fn what_is_put_here_is_ready_for_viewers() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = video(folder.path(), "a.mp4", "320x180", 4);
    let edge =
        server(folder.path(), |raw| raw.uploads.warm = vec![raw::Ready::Poster, raw::Ready::Ladder]).await;
    let token = token("upload", "me", None);
    let fields = [("authorization", &*token)];
    let put = client::open(edge.data(), "PUT", "/assets/v/a.mp4", &fields, &bytes).await.whole().await;
    assert_eq!(put.status, 201, "{}", put.text());
    let first = async || body(&edge.admin_get("/api/v1/jobs").await)["jobs"][0].clone();
    eventually("a job", async || first().await.is_object()).await;
    let job = first().await;
    assert_eq!(
        (&job["owner"], &job["priority"], &job["work"]["preset"]),
        (&json!("me"), &json!("low"), &json!("ladder"))
    );
    let told = becomes(edge.admin(), job["id"].as_str().unwrap(), "succeeded").await;
    assert!(told["result"]["warmed"].as_u64().unwrap() >= 8, "{told}");
    let encodes = async || edge.metric("millrace_media_encodes_total", &["result=\"ok\""]).await;
    let made = encodes().await;
    for asset in
        ["poster.webp", "master.m3u8", "96p/index.m3u8", "96p/init.mp4", "96p/seg-1.m4s", "96p/seg-2.m4s"]
    {
        assert_eq!(edge.get(&format!("/assets/v/a.mp4/{asset}")).await.cache(), "HIT", "{asset}");
    }
    assert_eq!((made, encodes().await), (2, 2));
}

#[tokio::test]
async fn a_hot_segment_is_replaced_by_a_better_one() {
    let folder = tempfile::tempdir().unwrap();
    video(folder.path(), "a.mp4", "320x180", 4);
    let edge = server(folder.path(), |raw| {
        raw.media.improve_after = 2;
        raw.media.encode_ahead = 0;
        raw.cache.block_size = "1MiB".to_owned();
    })
    .await;
    let init = edge.get("/a.mp4/96p/init.mp4").await.body;
    let first = edge.get("/a.mp4/96p/seg-1.m4s").await;
    for _ in 0..2 {
        assert_eq!(edge.get("/a.mp4/96p/seg-1.m4s").await.cache(), "HIT");
    }
    eventually("a better segment", async || {
        edge.metric("millrace_media_improvements_total", &["result=\"better\""]).await == 1
    })
    .await;
    let better = edge.get("/a.mp4/96p/seg-1.m4s").await;
    assert_eq!(better.cache(), "HIT");
    assert!(first.field("etag") != better.field("etag") && first.body != better.body);
    assert_eq!(edge.get("/a.mp4/96p/init.mp4").await.body, init);
    // The same times under the same description.
    let times = |segment: &[u8]| {
        let file = folder.path().join("joined.mp4");
        fs::write(&file, [&init[..], segment].concat()).unwrap();
        let output = Command::new("ffprobe")
            .args(["-v", "warning", "-select_streams", "v", "-show_entries", "packet=pts", "-of", "csv=p=0"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        // In the order of their decoding, which is the encoder's affair.
        let times = String::from_utf8(output.stdout).unwrap();
        times.lines().map(|time| time.parse::<u64>().unwrap()).collect::<BTreeSet<_>>()
    };
    assert_eq!(times(&better.body), times(&first.body));
    assert_eq!(times(&better.body).len(), 50);
    // It goes on to be found when it has become stale and is confirmed.
    edge.advance(3600);
    let confirmed = edge.get("/a.mp4/96p/seg-1.m4s").await;
    assert_eq!(confirmed.field("etag"), better.field("etag"));
}
