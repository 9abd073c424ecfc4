//! Jobs that nobody waits for, jobs that take too long, and lines that are full.

use std::{
    future::Future,
    sync::mpsc,
    task::{Context, Poll, Waker},
};

use futures_util::FutureExt;

use super::*;
use crate::media::checkpoint;

fn media(queue: usize) -> Media {
    let config = MediaConfig {
        pool: pool::Config { threads: 1, queue },
        limits: image::Limits::default(),
        memory_bytes: 1 << 20,
        image_timeout: Duration::from_secs(20),
        improve_after: 0,
        lengths: Arc::new([]),
        segment_target: Duration::from_secs(6),
        ffmpeg: Ffmpeg::new("ffmpeg", Duration::from_secs(20)),
        ladder: Ladder::default(),
        subtitles: Arc::default(),
        encoder: None,
        encodes: encodes::Config { running: 1, queue: 0 },
        ahead: 0,
    };
    Media::new(config, &Registry::new()).unwrap()
}

/// Polls once.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

/// A job that goes on until it is told to stop, and says that it has begun and why it ended.
struct Endless {
    begun: mpsc::Receiver<()>,
    ended: mpsc::Receiver<Stop>,
}

fn endless() -> (Endless, impl FnOnce() -> Result<(), Refusal> + Send + 'static) {
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let job = move || {
        begin.send(()).unwrap();
        loop {
            if let Err(stop) = checkpoint::pass() {
                end.send(stop).unwrap();
                return Err(stopped(stop, "image_timeout"));
            }
            std::thread::yield_now();
        }
    };
    (Endless { begun, ended }, job)
}

fn cancelled(media: &Media, stage: &str) -> u64 {
    media.instruments.cancelled.with_label_values(&[stage]).get()
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_done() {
    let media = media(1);
    let (watch, job) = endless();
    let mut running = Box::pin(media.run(Task::awaited("image"), job));
    assert!(poll(&mut running).is_pending());
    watch.begun.recv().unwrap();
    let mut waiting =
        Box::pin(media.run(Task::awaited("image"), || -> Result<(), Refusal> { unreachable!() }));
    assert!(poll(&mut waiting).is_pending());
    drop(waiting);
    assert_eq!((cancelled(&media, "queued"), cancelled(&media, "running")), (1, 0));
    drop(running);
    assert_eq!(watch.ended.recv_timeout(Duration::from_secs(10)), Ok(Stop::Abandoned));
    assert_eq!((cancelled(&media, "queued"), cancelled(&media, "running")), (1, 1));
    // Its thread is free again.
    assert_eq!(media.run(Task::awaited("image"), || Ok(7)).await.unwrap().result, 7);
    assert_eq!((cancelled(&media, "queued"), cancelled(&media, "running")), (1, 1));
}

#[tokio::test]
async fn what_takes_too_long_is_stopped() {
    let media = media(1);
    let (watch, job) = endless();
    let task = Task { budget: Some(Duration::from_millis(1)), ..Task::awaited("image") };
    let refusal = media.run(task, job).await.err().unwrap();
    assert_eq!(watch.ended.recv().unwrap(), Stop::OutOfTime);
    assert_eq!((refusal.status.as_u16(), refusal.reason), (504, "image_timeout"));
    assert!(refusal.is_lasting());
    assert_eq!(cancelled(&media, "running"), 0);
}

#[tokio::test]
async fn jobs_enter_by_their_weight() {
    let media = media(3);
    let places: Vec<_> = (0..4).map(|_| media.enter().unwrap()).collect();
    let refusal = media.enter().err().unwrap();
    assert_eq!((refusal.status.as_u16(), refusal.retry_after_secs), (503, Some(1)));

    let small = media.room_for_job(&places[0], 4096).await.unwrap();
    // More than there is counts as all there is, and waits until it is there.
    let mut large = Box::pin(media.room_for_job(&places[1], u64::MAX));
    assert!(poll(&mut large).is_pending());
    // Nobody overtakes, or a large one would never come in.
    let mut next = Box::pin(media.room_for_job(&places[2], 4096));
    assert!(poll(&mut next).is_pending());
    drop(small);
    let large = large.await.unwrap();
    assert!(poll(&mut next).is_pending());
    drop(large);
    assert!(next.await.is_ok());
    drop(places);
    assert!(media.enter().is_ok());
}
