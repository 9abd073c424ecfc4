//! A disk tier that fails, is removed, or holds what it should not: clients notice nothing, and it comes back by itself.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{BLOCK, Edge, Reply, eventually};
use crate::origin_double::{Answer, OriginDouble};

const SEED: u64 = 11;
/// Of two inline objects and one in blocks.
const LENGTHS: [u64; 3] = [100, BLOCK - 1000, 5 * BLOCK + 7];

fn objects(origin: &OriginDouble, count: usize) -> Vec<(String, u64)> {
    let mut objects = Vec::new();
    for n in 0..count {
        let (path, length) = (format!("/{n}"), LENGTHS[n % LENGTHS.len()]);
        origin.on(&path, Answer::pattern(length, SEED).etag("\"1\"").cache_control("max-age=3600"));
        objects.push((path, length));
    }
    objects
}

/// How often the answer was a hit; panics when one is not right.
async fn get_all(edge: &Edge, objects: &[(String, u64)]) -> usize {
    let mut hits = 0;
    for (path, length) in objects {
        let reply = edge.send("GET", path, &[]).await;
        check(&reply, path, *length);
        hits += usize::from(reply.cache() == "HIT");
    }
    edge.settled().await;
    hits
}

fn check(reply: &Reply, path: &str, length: u64) {
    assert!(reply.status == 200 && reply.is_pattern(SEED, 0..length), "{path}: {}", reply.status);
}

async fn is(edge: &Edge, state: &str) -> bool {
    let label = format!("state=\"{state}\"");
    edge.metric("millrace_cache_disk_state", &[&label]).await == 1
}

async fn lookups(edge: &Edge, result: &str) -> u64 {
    let label = format!("result=\"{result}\"");
    edge.metric("millrace_cache_tier_requests_total", &["tier=\"disk\"", &label]).await
}

fn block_files(edge: &Edge) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(edge.directory().join("cache/blocks"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

#[tokio::test]
async fn a_directory_that_is_removed_is_made_again() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    let objects = objects(&origin, 6);
    get_all(&edge, &objects).await;
    assert!(is(&edge, "on").await);
    edge.purge(r#"{"urls": ["/0"]}"#).await;
    fs::remove_dir_all(edge.directory().join("cache")).unwrap();
    // Memory goes on meanwhile.
    assert_eq!(get_all(&edge, &objects).await, objects.len() - 1);
    eventually("a new directory", async || edge.directory().join("cache/purge.log").exists()).await;
    eventually("a disk tier that is on", async || is(&edge, "on").await).await;
    // What memory holds is written when it is asked for, and found after a restart.
    get_all(&edge, &objects).await;
    eventually("heads on disk", async || {
        edge.metric("millrace_cache_disk_admissions_total", &["result=\"second_request\""]).await >= 6
    })
    .await;
    edge.restart().await;
    assert!(get_all(&edge, &objects).await >= 4);
    assert_eq!(lookups(&edge, "corrupt").await, 0);
}

/// What changed while the disk was away does not come back with it.
#[tokio::test]
async fn what_was_outdated_meanwhile_stays_so() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    origin.on_with("/x", |request| match request.method.as_str() {
        "GET" => Answer::ok("x").etag("\"1\"").cache_control("max-age=3600"),
        _ => Answer::ok("changed"),
    });
    edge.get("/x").await;
    fs::remove_file(edge.directory().join("cache/lock")).unwrap();
    eventually("a tier that was off", async || edge.directory().join("cache/lock").exists()).await;
    eventually("a tier that is on", async || is(&edge, "on").await).await;
    edge.ask("POST", "/x", &[]).await;
    edge.restart().await;
    assert_eq!(edge.get("/x").await.cache(), "MISS");
}

/// Fault 7: every flip is noticed, and what was hit is fetched again.
#[tokio::test]
async fn a_thousand_flipped_bytes_spoil_nothing() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with(&origin, |raw| {
        raw.cache.memory = "8MiB".to_owned();
        raw.cache.disk = "64MiB".to_owned();
    })
    .await;
    let objects = objects(&origin, 120);
    get_all(&edge, &objects).await;
    edge.ask_to_stop().await.unwrap().unwrap();
    // Among what has been written.
    let written: Vec<_> = block_files(&edge)
        .into_iter()
        .filter(|file| fs::read(file).unwrap().iter().any(|byte| *byte != 0))
        .collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    for _ in 0..1000 {
        let file = &written[random.usize(..written.len())];
        let mut bytes = [0];
        let at = random.u64(..file.metadata().unwrap().len());
        fs::File::open(file).unwrap().read_exact_at(&mut bytes, at).unwrap();
        overwrite(file, at, &[bytes[0] ^ (1 << random.u32(..8))]);
    }
    let edge = edge.second().await.unwrap();
    let hits = get_all(&edge, &objects).await;
    assert!(hits < objects.len(), "nothing was hit by a flip");
    assert!(lookups(&edge, "corrupt").await > 0);
    assert_eq!(lookups(&edge, "error").await, 0);
    // All of it has been fetched again.
    get_all(&edge, &objects).await;
    assert_eq!(get_all(&edge, &objects).await, objects.len());
}

/// Fault 8: truncated, foreign, of another version.
#[tokio::test]
async fn a_directory_that_cannot_be_trusted_is_started_over() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with_disk(&origin).await;
    let objects = objects(&origin, 30);
    get_all(&edge, &objects).await;
    edge.restart().await;
    assert_eq!(get_all(&edge, &objects).await, objects.len(), "left alone");
    let spoil: [(&str, fn(&Edge)); 5] = [
        ("truncated", |edge| {
            for file in block_files(edge) {
                let length = file.metadata().unwrap().len();
                OpenOptions::new().write(true).open(file).unwrap().set_len(length / 3).unwrap();
            }
        }),
        ("foreign", |edge| {
            for file in block_files(edge) {
                overwrite(&file, 0, &vec![0xa5; file.metadata().unwrap().len() as usize]);
            }
            fs::write(edge.directory().join("cache/blocks/notes.txt"), "mine").unwrap();
        }),
        ("another version", |edge| {
            fs::write(edge.directory().join("cache/layout"), "millrace blocks 0").unwrap()
        }),
        ("no seed", |edge| fs::remove_file(edge.directory().join("cache/seed")).unwrap()),
        ("not a directory", |edge| {
            let blocks = edge.directory().join("cache/blocks");
            fs::remove_dir_all(&blocks).unwrap();
            fs::write(blocks, "a file").unwrap();
            fs::remove_file(edge.directory().join("cache/layout")).unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        edge.ask_to_stop().await.unwrap().unwrap();
        spoil(&edge);
        edge = edge.second().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let hits = get_all(&edge, &objects).await;
        assert!(hits < objects.len(), "{what}: {hits} hits");
        assert_eq!(get_all(&edge, &objects).await, objects.len(), "{what}");
        assert_eq!(lookups(&edge, "error").await, 0, "{what}");
    }
}

/// The disk forgets oldest first, also what was written before a restart.
#[tokio::test]
async fn the_oldest_goes_first_after_a_restart_too() {
    let origin = OriginDouble::start().await;
    let mut edge = Edge::with(&origin, |raw| {
        raw.cache.memory = "8MiB".to_owned();
        raw.cache.disk = "64MiB".to_owned();
    })
    .await;
    // 51 MiB, then more than there is room for.
    for n in 0..60 {
        origin.on(
            &format!("/{n}"),
            Answer::pattern(16 * BLOCK, SEED).etag("\"1\"").cache_control("max-age=3600"),
        );
    }
    for n in 0..48 {
        edge.get(&format!("/{n}")).await;
    }
    edge.restart().await;
    for n in 48..60 {
        // Twice: a full disk takes what is wanted again.
        edge.get(&format!("/{n}")).await;
        edge.get(&format!("/{n}")).await;
    }
    edge.restart().await;
    // Backwards, because what is fetched again takes the place of the next.
    let mut kept = Vec::new();
    for n in (0..=20).rev() {
        let asked = origin.total_hits();
        assert!(edge.get(&format!("/{n}")).await.is_pattern(SEED, 0..16 * BLOCK));
        kept.insert(0, origin.total_hits() == asked);
    }
    assert!(!kept[0] && kept[20] && kept.is_sorted(), "{kept:?}");
}

/// One-hit wonders leave a full disk alone; what is asked for again gets there.
#[tokio::test]
async fn a_full_disk_takes_what_is_wanted_twice() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.cache.memory = "64MiB".to_owned();
        raw.cache.disk = "64MiB".to_owned();
    })
    .await;
    for n in 0..1200 {
        origin.on(
            &format!("/{n}"),
            Answer::pattern(BLOCK - 2000, SEED).etag("\"1\"").cache_control("max-age=3600"),
        );
    }
    for n in 0..1100 {
        edge.send("GET", &format!("/{n}"), &[]).await;
    }
    edge.settled().await;
    let result = async |result: &str| {
        edge.metric("millrace_cache_disk_admissions_total", &[&format!("result=\"{result}\"")]).await
    };
    let (first, written) = (result("first_request").await, result("admitted").await);
    assert!(first > 0 && first + written == 1100, "{first} refused, {written} written");
    assert_eq!(edge.get("/1150").await.cache(), "MISS");
    assert_eq!(result("first_request").await, first + 1);
    // Small objects hit at once all the same, from memory.
    assert_eq!(edge.get("/1150").await.cache(), "HIT");
    assert_eq!(result("second_request").await, 1);
}

/// A budget of bytes is kept in the long run, whatever comes.
#[tokio::test]
async fn the_write_budget_is_kept() {
    let origin = OriginDouble::start().await;
    let edge = Edge::with(&origin, |raw| {
        raw.cache.disk = "64MiB".to_owned();
        raw.cache.disk_write_rate = "200KiB".to_owned();
    })
    .await;
    for n in 0..200 {
        origin.on(
            &format!("/{n}"),
            Answer::pattern(BLOCK - 2000, SEED).etag("\"1\"").cache_control("max-age=3600"),
        );
    }
    let begun = std::time::Instant::now();
    for n in 0..200 {
        edge.send("GET", &format!("/{n}"), &[]).await;
    }
    edge.settled().await;
    let written = edge.metric("millrace_cache_disk_bytes_total", &["operation=\"written\""]).await as f64;
    // A second's worth saved up, one object too many, and as much again for pages and indexes.
    let budget = 200.0 * 1024.0 * (begun.elapsed().as_secs_f64() + 1.0) + 65536.0;
    assert!(written <= 2.0 * budget, "{written} bytes written, {budget} allowed");
    let refused = edge.metric("millrace_cache_disk_admissions_total", &["result=\"over_budget\""]).await;
    assert!(refused > 0);
    for n in 0..200 {
        assert_eq!(edge.send("GET", &format!("/{n}"), &[]).await.cache(), "HIT", "from memory");
    }
}
