//! How much work images make: none when nobody waits, none twice, a better form of what is asked for often.

use futures_util::future::join_all;

use super::{
    Edge, eventually,
    images::{jpeg, made},
};
use crate::origin_double::{Answer, Gate, OriginDouble};

/// A picture that is hard to encode.
fn rough(width: usize, height: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 / 3
    };
    let pixels: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| {
            let wave = ((x / 7) ^ (y / 5)) as u8;
            [wave.wrapping_mul(3) / 2 + noise() / 2, (x * 160 / width) as u8 + noise(), wave / 2 + noise()]
        })
        .collect();
    let image = turbojpeg::Image {
        pixels: &pixels[..],
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::RGB,
    };
    turbojpeg::compress(image, 85, turbojpeg::Subsamp::Sub2x2).unwrap().to_vec()
}

fn image(bytes: Vec<u8>) -> Answer {
    Answer::ok(bytes).etag("\"1\"").cache_control("max-age=60").content_type("image/jpeg")
}

async fn reasons(edge: &Edge, reason: &str) -> u64 {
    edge.metric("millrace_cache_requests_total", &[&format!("reason=\"{reason}\"")]).await
}

async fn improved(edge: &Edge, result: &str) -> u64 {
    edge.metric("millrace_media_improvements_total", &[&format!("result=\"{result}\"")]).await
}

#[tokio::test]
async fn nothing_is_made_when_all_have_left() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    origin.on("/a.jpg", image(jpeg(80, 60, 1)).gate_at(100, &gate));
    let both = join_all([(); 2].map(|()| begun(&edge, "/a.jpg?w=20"))).await;
    gate.arrived(1).await;
    eventually("both wait", async || edge.metric("millrace_collapsed_requests_total", &[]).await >= 1).await;
    drop(both);
    eventually("both are gone", async || reasons(&edge, "client-left").await == 2).await;
    gate.release();
    edge.settled().await;
    assert_eq!(made(&edge).await, 0);
    // The source has been fetched all the same, and one who comes later gets what he wants.
    let reply = edge.get("/a.jpg?w=20").await;
    assert_eq!((reply.status, reply.cache(), made(&edge).await), (200, "MISS", 1));
    assert_eq!(origin.hits("/a.jpg"), 1);
}

#[tokio::test]
async fn one_who_stays_gets_what_others_have_left() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    let gate = Gate::new();
    origin.on("/a.jpg", image(jpeg(80, 60, 1)).gate_at(100, &gate));
    let leaver = begun(&edge, "/a.jpg?w=20").await;
    gate.arrived(1).await;
    let staying = async {
        eventually("both wait", async || edge.metric("millrace_collapsed_requests_total", &[]).await >= 1)
            .await;
        drop(leaver);
        eventually("one is gone", async || reasons(&edge, "client-left").await == 1).await;
        gate.release();
    };
    let (reply, ()) = tokio::join!(edge.send("GET", "/a.jpg?w=20", &[]), staying);
    assert_eq!((reply.status, made(&edge).await, origin.hits("/a.jpg")), (200, 1, 1));
}

/// A connection on which this has been asked for.
async fn begun(edge: &Edge, target: &str) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::net::TcpStream::connect(edge.data()).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: edge.example\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn slow_sources_hold_nobody_up() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| (raw.media.threads, raw.media.queue) = (1, 1)).await;
    let gate = Gate::new();
    let slow: Vec<_> = (0..6).map(|n| format!("/slow-{n}.jpg")).collect();
    for path in &slow {
        // The headers come at once, the rest does not.
        let long = [jpeg(80, 60, 1), vec![0; 300_000]].concat();
        origin.on(path, image(long).gate_at(200_000, &gate));
    }
    origin.on("/ready.jpg", image(jpeg(80, 60, 2)));
    let targets: Vec<_> = slow.iter().map(|path| format!("{path}?w=20")).collect();
    let asking = join_all(targets.iter().map(|target| edge.send("GET", target, &[])));
    let meanwhile = async {
        gate.arrived(slow.len()).await;
        let reply = edge.send("GET", "/ready.jpg?w=20", &[]).await;
        gate.release();
        reply
    };
    let (replies, ready) = tokio::join!(asking, meanwhile);
    assert_eq!((ready.status, ready.cache()), (200, "MISS"));
    // More than can be made or wait at once: they are made, or told to come again.
    for reply in replies {
        let busy =
            reply.status == 503 && reply.field("retry-after") == "1" && reply.text().contains("\"busy\"");
        assert!(reply.status == 200 || busy, "{}", reply.status);
    }
    let again = edge.get("/slow-0.jpg?w=20").await;
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn failures_are_remembered_for_a_moment() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", image(jpeg(80, 60, 1)));
    origin.on("/text.jpg", image(b"<html></html>".to_vec()));
    origin.on("/gone.jpg", Answer::empty(410));
    for (target, status, reason) in [
        ("/a.jpg?w=8192&h=8192&fit=scale", 400, "image_too_large"),
        ("/text.jpg?w=20", 415, "image_unsupported"),
        ("/gone.jpg?w=20", 410, "source"),
    ] {
        for again in [false, true] {
            let reply = edge.get(target).await;
            let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!((reply.status, problem["reason"].as_str().unwrap()), (status, reason), "{target}");
            assert_eq!(reply.cache(), if again { "HIT" } else { "MISS" }, "{target}");
        }
        assert_eq!(origin.hits(target.split('?').next().unwrap()), 1, "{target}");
        edge.advance(11);
        assert_ne!(edge.get(target).await.cache(), "HIT", "{target}");
    }
    assert_eq!(made(&edge).await, 0);
}

#[tokio::test]
async fn what_takes_more_memory_than_there_is_is_not_made() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.media.max_decode = "4MiB".to_owned();
        raw.media.max_memory = "8MiB".to_owned();
    });
    let edge = edge.await;
    origin.on("/a.jpg", image(jpeg(800, 600, 1)));
    assert_eq!(edge.get("/a.jpg?w=400").await.status, 200);
    let reply = edge.get("/a.jpg?w=800&lossless=1").await;
    assert_eq!(reply.status, 422);
    assert!(reply.text().contains("image_too_large"), "{}", reply.text());
}

#[tokio::test]
async fn what_is_asked_for_often_gets_better() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.media.improve_after = 3;
        raw.cache.block_size = "1MiB".to_owned();
    });
    let edge = edge.await;
    origin.on("/a.jpg", image(rough(900, 700)));
    let first = edge.get("/a.jpg?w=800").await;
    for _ in 0..2 {
        assert_eq!(edge.get("/a.jpg?w=800").await.field("etag"), first.field("etag"));
    }
    assert_eq!(improved(&edge, "better").await, 0);
    assert_eq!(edge.get("/a.jpg?w=800").await.cache(), "HIT");
    eventually("a better image", async || improved(&edge, "better").await == 1).await;
    let better = edge.get("/a.jpg?w=800").await;
    assert_eq!((better.status, better.cache(), better.field("content-type")), (200, "HIT", "image/webp"));
    assert!(better.body.len() < first.body.len(), "{} {}", better.body.len(), first.body.len());
    assert_ne!(better.field("etag"), first.field("etag"));
    assert_eq!((better.field("age"), better.field("cache-control")), (first.field("age"), "max-age=60"));
    let condition = [("if-none-match", first.field("etag"))];
    assert_eq!(edge.ask("GET", "/a.jpg?w=800", &condition).await.status, 200);
    let condition = [("if-none-match", better.field("etag"))];
    assert_eq!(edge.ask("GET", "/a.jpg?w=800", &condition).await.status, 304);
    // Once is enough, and it stays when its source is confirmed.
    for _ in 0..5 {
        assert!(edge.get("/a.jpg?w=800").await.body == better.body);
    }
    edge.advance(61);
    let confirmed = edge.get("/a.jpg?w=800").await;
    assert!(confirmed.cache() == "REVALIDATED" && confirmed.body == better.body);
    assert_eq!(confirmed.field("etag"), better.field("etag"));
    assert_eq!((made(&edge).await, improved(&edge, "better").await), (1, 1));
    // A purge of the source takes it along.
    edge.purge(r#"{"urls":["/a.jpg"]}"#).await;
    let again = edge.get("/a.jpg?w=800").await;
    assert_eq!((again.cache(), again.field("etag")), ("MISS", first.field("etag")));

    let edge = Edge::with(&origin, |raw| raw.media.improve_after = 0).await;
    for _ in 0..30 {
        assert_eq!(edge.get("/a.jpg?w=800").await.field("etag"), first.field("etag"));
    }
    assert_eq!(edge.metric("millrace_media_improvements_total", &[]).await, 0);
}

/// Waves, at which AVIF is good.
fn waves(width: usize, height: usize) -> Vec<u8> {
    let pixels: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x as f32, y as f32)))
        .flat_map(|(x, y)| {
            let v = 128.0 + 60.0 * (x / 5.0 + y / 7.0).sin() + 40.0 * (x / 3.0 - y / 11.0).sin();
            [v as u8, (v + 20.0 * (x / 20.0).sin()) as u8, (v - 20.0) as u8]
        })
        .collect();
    let format = turbojpeg::PixelFormat::RGB;
    let image = turbojpeg::Image { pixels: &pixels[..], width, pitch: width * 3, height, format };
    turbojpeg::compress(image, 95, turbojpeg::Subsamp::None).unwrap().to_vec()
}

/// Nobody waits for AVIF who has not asked for it in so many words; who takes it gets it when it is there.
#[tokio::test]
async fn the_better_form_for_those_who_take_it_is_avif() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| raw.media.improve_after = 2).await;
    origin.on("/a.jpg", image(waves(120, 90)));
    let ask = async |accept| {
        let reply = edge.ask("GET", "/a.jpg?w=120&auto=format", &[("accept", accept)]).await;
        assert_eq!((reply.status, reply.field("vary")), (200, "Accept"), "{accept}");
        reply
    };
    // Browsers' words differ, what they mean does not.
    let [chromium, firefox] = [
        "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
        "image/avif,image/webp,image/png,*/*;q=0.5",
    ];
    let first = ask(chromium).await;
    assert_eq!((first.field("content-type"), first.cache()), ("image/webp", "MISS"));
    for _ in 0..2 {
        assert_eq!(ask(firefox).await.cache(), "HIT");
    }
    eventually("a better image", async || improved(&edge, "better").await == 1).await;
    let better = ask(firefox).await;
    assert_eq!((better.field("content-type"), better.cache()), ("image/avif", "HIT"));
    assert!(better.body.len() < first.body.len() && better.field("etag") != first.field("etag"));
    // It stays what it is when its source is confirmed.
    edge.advance(61);
    let confirmed = ask(chromium).await;
    assert_eq!((confirmed.cache(), confirmed.field("content-type")), ("REVALIDATED", "image/avif"));
    for (accept, format) in
        [("image/webp", "image/webp"), ("image/avif;q=0,image/webp", "image/webp"), ("*/*", "image/jpeg")]
    {
        assert_eq!(ask(accept).await.field("content-type"), format, "{accept}");
    }
    // A purge of the address takes all of them.
    edge.purge(r#"{"urls":["/a.jpg?w=120&auto=format"]}"#).await;
    for accept in [chromium, "image/webp", "*/*"] {
        assert_eq!(ask(accept).await.cache(), "MISS", "{accept}");
    }
}

#[tokio::test]
async fn avif_goes_both_ways() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", image(waves(200, 150)));
    let made = edge.get("/a.jpg?w=160&fm=avif").await;
    assert_eq!((made.status, made.field("content-type"), made.field("vary")), (200, "image/avif", ""));
    // What counts is what it is.
    origin.on("/named.jpg", image(made.body.to_vec()));
    origin.on("/cut.avif", image(made.body[..made.body.len() / 2].to_vec()));
    let json = edge.get("/named.jpg?fm=json").await.text();
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&told["original"]["format"], &told["width"]), (&"image/avif".into(), &160.into()));
    let again = edge.get("/named.jpg?w=100").await;
    assert_eq!((again.status, again.field("content-type")), (200, "image/webp"));
    let cut = edge.get("/cut.avif?w=100").await;
    assert!(cut.status == 422 && cut.text().contains("image_corrupt"), "{} {}", cut.status, cut.text());
    // All its headers are of the largest that AV1 has.
    let mut bomb = made.body.to_vec();
    let ispe = bomb.windows(4).position(|w| w == b"ispe").unwrap();
    bomb[ispe + 8..ispe + 16].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
    origin.on("/bomb.avif", image(bomb));
    let bomb = edge.get("/bomb.avif?w=100").await;
    assert_eq!(bomb.status, 422, "{}", bomb.text());
}

#[tokio::test]
async fn each_step_is_told_and_measured() {
    let origin = OriginDouble::start().await;
    let edge = Edge::over(&origin).await;
    origin.on("/a.jpg", image(jpeg(800, 600, 1)));
    let reply = edge.get("/a.jpg?w=320").await;
    let timings = reply.fields("server-timing").join(", ");
    for step in ["fetch", "queue", "decode", "resize", "encode"] {
        assert!(timings.contains(&format!("{step};dur=")), "{step}: {timings}");
        let label = format!("step=\"{step}\"");
        let labels = ["operation=\"image\"", &*label];
        assert_eq!(edge.metric("millrace_media_step_duration_seconds_count", &labels).await, 1, "{step}");
    }
    let hit = edge.get("/a.jpg?w=320").await.fields("server-timing").join(", ");
    assert!(!hit.contains("encode"), "{hit}");
}
