//! The store as a whole: what survives a restart, who may open a directory.

use std::path::Path;

use http::{HeaderMap, StatusCode};

use super::*;
use crate::cache::{Content, Key, vary::VarySpec};

const BLOCK: u32 = 64 << 10;

async fn open(dir: &Path) -> Result<Arc<Store>, Error> {
    let disk = Some(DiskConfig { dir: dir.to_owned(), bytes: 64 << 20, write_rate: 0 });
    let config = Config { memory_bytes: 2 << 20, disk, block_size: BLOCK };
    Store::open(&config, &Registry::new(), &Tasks::new()).await
}

fn head(key: &Key) -> Arc<Head> {
    let content = Content::Inline(Bytes::from_static(b"hello"));
    Head::new(key.text(), StatusCode::OK, &HeaderMap::new(), (0, 0), 5, content).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_heads_and_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let key = Key::new("/a", store.seed());
    let incarnation = Incarnation::new();
    store.put_head(&key, head(&key)).await;
    // More than memory holds, so that part of it is on disk only even before the restart.
    for index in 0..100 {
        store.put_block(incarnation, index, vec![index as u8; BLOCK as usize].into()).await;
    }
    store.close().await;
    drop(store);
    let store = open(dir.path()).await.unwrap();
    let Some(Found::Head(found)) = store.find(&key).await else { panic!("head is lost") };
    assert_eq!(*found, *head(&key));
    for index in 0..100 {
        let block = store.block(incarnation, index).await.unwrap_or_else(|| panic!("block {index} is lost"));
        assert!(block.len() == BLOCK as usize && block.iter().all(|byte| *byte == index as u8));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_taken_in_pieces_is_asked_for_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let incarnation = Incarnation::new();
    store.put_block(incarnation, 0, vec![1; BLOCK as usize].into()).await;
    assert!(store.block(incarnation, 0).await.is_some());
    for _ in 0..9 {
        assert!(store.block_again(incarnation, 0).is_some());
    }
    assert_eq!(store.counters.memory_hit.get(), 1);
    assert!(store.block_again(incarnation, 1).is_none());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_heads_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let key = Key::new("/a", store.seed());
    store.put_head(&key, head(&key)).await;
    assert!(store.find(&key).await.is_some());
    store.remove_head(&key).await;
    assert!(store.find(&key).await.is_none());
    store.close().await;
    drop(store);
    assert!(open(dir.path()).await.unwrap().find(&key).await.is_none(), "came back after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_replaced_only_in_its_own_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let key = Key::new("/a", store.seed());
    let [mine, other] = [Incarnation::new(), Incarnation::new()];
    let content = Content::Blocks { incarnation: mine, block_size: BLOCK };
    store.put_head(&key, head(&key).with_content(5, content).into()).await;
    store.replace_head(&key, other, None).await;
    assert!(store.find(&key).await.is_some());
    store.replace_head(&key, mine, Some(head(&key))).await;
    let Some(Found::Head(found)) = store.find(&key).await else { panic!("head is lost") };
    assert_eq!(*found, *head(&key));
    store.put_head_while(&key, head(&key).with_content(9, found.content.clone()).into(), || false).await;
    let Some(Found::Head(found)) = store.find(&key).await else { panic!("head is lost") };
    assert_eq!(found.length, 5);
}

/// Variants keep what their keys have in common as long as nothing has come between.
#[tokio::test(flavor = "multi_thread")]
async fn variants_are_found_until_they_are_outdated() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let key = Key::new("/a", store.seed());
    let spec = VarySpec::from_names(vec!["accept".into()]);
    let first = store.variants(&key, &spec, || true).await;
    assert_eq!(store.variants(&key, &spec, || true).await, first);
    let by_more = VarySpec::from_names(vec!["accept".into(), "x".into()]);
    assert_ne!(store.variants(&key, &by_more, || false).await.spec, spec);
    assert_eq!(store.variants(&key, &spec, || true).await, first);
    store.remove_head(&key).await;
    assert_ne!(store.variants(&key, &spec, || true).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_server_on_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).await.unwrap();
    assert!(matches!(open(dir.path()).await, Err(Error::InUse { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_tier_that_cannot_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disk = DiskConfig { dir: dir.path().to_owned(), bytes: 1 << 60, write_rate: 0 };
    let config = Config { memory_bytes: 2 << 20, disk: Some(disk), block_size: BLOCK };
    let opened = Store::open(&config, &Registry::new(), &Tasks::new()).await;
    assert!(matches!(opened, Err(Error::NoSpace { .. })));
}

/// Without a disk, what memory lets go of is lost.
#[tokio::test]
async fn what_a_running_fill_has_brought_stays_until_it_ends() {
    let config = Config { memory_bytes: 8 << 20, disk: None, block_size: BLOCK };
    let store = Store::open(&config, &Registry::new(), &Tasks::new()).await.unwrap();
    let block = || Bytes::from(vec![1; BLOCK as usize]);
    for n in 0..120 {
        let key = Key::new(format!("/{n}"), store.seed());
        store.put_head(&key, head(&key).with_content(BLOCK.into(), Content::Inline(block())).into()).await;
        (0..10).for_each(|_| _ = store.peek(&key));
    }
    // More than may pass.
    let others = async || {
        let others = Incarnation::new();
        for index in 0..60 {
            store.put_block(others, index, block()).await;
        }
    };
    let key = Key::new("/slow", store.seed());
    for kept in [false, true] {
        let fill = Incarnation::new();
        let keeps = kept.then(|| store.keep(fill, Some(16 * u64::from(BLOCK)), false).unwrap());
        let content = Content::Blocks { incarnation: fill, block_size: BLOCK };
        store.put_head(&key, head(&key).with_content(16 * u64::from(BLOCK), content).into()).await;
        for index in 0..16 {
            store.put_block(fill, index, block()).await;
        }
        others().await;
        let left = || (0..16).filter(|index| store.has_block(fill, *index)).count();
        assert_eq!((left() == 16, store.peek(&key).is_some()), (kept, kept), "{} are left", left());
        assert!(
            store.keep(Incarnation::new(), Some(2 << 20), false).is_some() != kept,
            "there is no room for both"
        );
        assert!(store.keep(Incarnation::new(), Some(2 << 20), true).is_some(), "it can be fetched again");
        drop(keeps);
        others().await;
        assert!(left() < 16, "it competes like others when it has ended");
    }
}

/// What was promised a place has it, whatever is lent afterwards; and with what is lent less is promised.
#[tokio::test]
async fn promises_are_kept_when_the_tier_gives_memory_away() {
    const MIB: u64 = 1 << 20;
    let config = Config { memory_bytes: 128 << 20, disk: None, block_size: 1 << 20 };
    let store = Store::open(&config, &Registry::new(), &Tasks::new()).await.unwrap();
    let blocks = async |of, first| {
        for index in first..first + 16 {
            store.put_block(of, index, vec![1; 1 << 20].into()).await;
        }
    };
    let fill = Incarnation::new();
    let promise = store.keep(fill, Some(32 * MIB), false).unwrap();
    blocks(fill, 0).await;
    let lent = store.lend(512 << 20);
    blocks(fill, 16).await;
    // Of another one, which nobody was promised.
    blocks(Incarnation::new(), 0).await;
    assert_eq!((0..32).filter(|index| store.has_block(fill, *index)).count(), 32);
    drop(promise);
    assert!(store.keep(Incarnation::new(), Some(9 * MIB), false).is_none(), "it could not be kept");
    assert!(store.keep(Incarnation::new(), Some(8 * MIB), false).is_some());
    drop(lent);
    assert!(store.keep(Incarnation::new(), Some(32 * MIB), false).is_some());
}
