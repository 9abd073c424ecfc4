//! Logs that end where they should not, and disks that fail.

use futures_util::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::cache::purge::{Standing, Tags};

const SEED: KeySeed = KeySeed(7);

struct Opened {
    dir: TempDir,
    log: Log,
    books: Arc<RwLock<Books>>,
}

impl Opened {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (log, books) = Log::create(dir.path(), SEED, &Handle::current()).unwrap();
        Self { dir, log, books: Arc::new(RwLock::new(books)) }
    }

    async fn purge(&self, url: &str) -> Result<u64, String> {
        let sequence = self.books.write().enter(&Purge::hard().url(url), 0, true);
        self.log.commit(sequence, &self.books).await.map(|()| sequence)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("purge.log")
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    fn reopened(&self) -> Books {
        Log::open(self.dir.path(), SEED, &Handle::current()).unwrap().unwrap().1
    }
}

fn hides(books: &Books, url: &str) -> bool {
    books.stamps.judge(url, &Tags::default(), 0) == Standing::Hidden
}

#[tokio::test]
async fn what_is_committed_is_read_again_in_a_new_round() {
    let opened = Opened::new();
    assert_eq!((opened.purge("/a").await, opened.purge("/b").await), (Ok(1), Ok(2)));
    for round in 1..3 {
        let books = opened.reopened();
        assert_eq!(["/a", "/b", "/c"].map(|url| hides(&books, url)), [true, true, false]);
        assert_eq!(books.stamps.latest(), round * ROUND);
    }
}

#[tokio::test]
async fn a_torn_end_is_dropped_and_a_damaged_log_refused() {
    let opened = Opened::new();
    opened.purge("/a").await.unwrap();
    let first = opened.bytes().len();
    opened.purge("/b").await.unwrap();
    let whole = opened.bytes();
    for cut in 0..whole.len() {
        let read = read(&whole[..cut], SEED);
        match read {
            Some(books) if cut >= first => assert!(hides(&books, "/a") && !hides(&books, "/b"), "{cut}"),
            Some(books) => assert!(!hides(&books, "/a"), "{cut}"),
            None => assert!(cut < first, "{cut}"),
        }
    }
    for (at, lost) in [(0, true), (9, true), (first - 1, true), (whole.len() - 1, false)] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert_eq!(read(&damaged, SEED).is_none(), lost, "{at}");
    }
    assert!(read(&whole, KeySeed(8)).is_none());
    let blank = [&whole[..], &[0; 100]].concat();
    assert!(read(&blank, SEED).is_some_and(|books| hides(&books, "/b")));
}

/// What came behind a torn end must not be lost with it.
#[tokio::test]
async fn a_torn_end_is_written_over() {
    let opened = Opened::new();
    opened.purge("/a").await.unwrap();
    std::fs::write(opened.path(), [opened.bytes(), vec![1; 9]].concat()).unwrap();
    let (log, books) = Log::open(opened.dir.path(), SEED, &Handle::current()).unwrap().unwrap();
    let next = Opened { log, books: Arc::new(RwLock::new(books)), ..opened };
    next.purge("/b").await.unwrap();
    let books = next.reopened();
    assert!(hides(&books, "/a") && hides(&books, "/b"));
}

#[tokio::test]
async fn a_failure_is_told_and_made_good() {
    let opened = Opened::new();
    opened.log.tail.lock().await.file = File::open(opened.path()).unwrap();
    assert!(opened.purge("/a").await.is_err());
    let partial = opened.path().with_extension("partial");
    std::fs::create_dir(&partial).unwrap();
    assert!(opened.purge("/b").await.is_err());
    assert!(hides(&opened.books.read(), "/a") && hides(&opened.books.read(), "/b"), "in force");
    std::fs::remove_dir(&partial).unwrap();
    assert_eq!(opened.purge("/c").await, Ok(3));
    let books = opened.reopened();
    assert!(["/a", "/b", "/c"].iter().all(|url| hides(&books, url)));
}

#[tokio::test]
async fn those_who_wait_share_a_write() {
    let opened = Opened::new();
    let urls: Vec<_> = (0..100).map(|n| format!("/{n}")).collect();
    let before = opened.bytes().len();
    assert!(join_all(urls.iter().map(|url| opened.purge(url))).await.iter().all(Result::is_ok));
    let record = 6 * 8;
    let frames = (opened.bytes().len() - before - 100 * record) / FRAME;
    assert!((1..=2).contains(&frames), "{frames}");
    let books = opened.reopened();
    assert!(urls.iter().all(|url| hides(&books, url)));
}

#[tokio::test]
async fn a_log_that_has_grown_is_written_anew() {
    let opened = Opened::new();
    opened.log.tail.lock().await.grown = GROWTH + 1;
    opened.purge("/a").await.unwrap();
    opened.purge("/b").await.unwrap();
    let bytes = opened.bytes();
    let books = read(&bytes, SEED).unwrap();
    assert!(hides(&books, "/a") && hides(&books, "/b"));
    assert_eq!(opened.log.tail.lock().await.grown, FRAME + 6 * 8);
}
