//! The preset `ladder`: asks for what viewers will ask for, as viewers find it, one after the other.

use std::time::Duration;

use bytes::Bytes;

use super::{Failure, Library, Watcher};
use crate::jobs::work::{Ladder, Part};

/// Longest playlist, and most playlists and segments of one video.
const MAX_PLAYLIST: usize = 8 << 20;
const MAX_PLAYLISTS: usize = 128;
const MAX_PIECES: usize = 200_000;
/// Between two looks at a busy server, and so many looks. Then others may have the worker; what is there is there.
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSES: u32 = 15;

/// How many objects are there now.
pub async fn run(library: &dyn Library, ladder: &Ladder, watcher: &dyn Watcher) -> Result<usize, Failure> {
    let source = &*ladder.source;
    let has = |part| ladder.parts.contains(&part);
    let mut warmed = 0;
    if has(Part::Poster) {
        get(library, &format!("{source}/poster.webp"), 0).await?;
        warmed += 1;
    }
    if !has(Part::Playlists) && !has(Part::Segments) {
        return Ok(warmed);
    }
    let master = text(&get(library, &format!("{source}/master.m3u8"), MAX_PLAYLIST).await?);
    get(library, &format!("{source}/manifest.mpd"), 0).await?;
    warmed += 2;
    let mut pieces = Vec::new();
    for playlist in named(&master).into_iter().take(MAX_PLAYLISTS) {
        let media = text(&get(library, &format!("{source}/{playlist}"), MAX_PLAYLIST).await?);
        warmed += 1;
        let Some((rendition, _)) = playlist.rsplit_once('/') else { continue };
        if has(Part::Segments) && wanted(ladder, rendition) {
            pieces.extend(named(&media).into_iter().map(|piece| format!("{source}/{rendition}/{piece}")));
        }
    }
    pieces.truncate(MAX_PIECES);
    for (index, piece) in pieces.iter().enumerate() {
        get(library, piece, 0).await?;
        warmed += 1;
        watcher.progress((index + 1) as f64 / pieces.len() as f64);
    }
    Ok(warmed)
}

/// What is passed on as it is costs nothing later either.
fn wanted(ladder: &Ladder, rendition: &str) -> bool {
    match ladder.renditions.is_empty() {
        true => !rendition.starts_with("source"),
        false => ladder.renditions.iter().any(|name| name == rendition),
    }
}

/// Gives way to viewers.
async fn get(library: &dyn Library, place: &str, most: usize) -> Result<Bytes, Failure> {
    for _ in 0..MAX_PAUSES {
        match library.warm(place, most).await {
            Err(Failure::Busy) => tokio::time::sleep(PAUSE).await,
            ended => return ended,
        }
    }
    Err(Failure::Busy)
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Addresses in a playlist of ours, each once. What leads elsewhere is left out.
fn named(playlist: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in playlist.lines() {
        let name = match line.strip_prefix('#') {
            None => line.trim(),
            Some(tag) => {
                let behind = tag.split_once("URI=\"").map_or("", |(_, behind)| behind);
                behind.split('"').next().unwrap_or_default()
            }
        };
        let ours = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'/' | b'_'))
            && !name.starts_with('/')
            && !name.contains("..");
        if ours && found.last() != Some(&name) {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::BoxFuture};
    use parking_lot::Mutex;
    use std::sync::Arc;

    use super::*;
    use crate::{
        jobs::library::{Keeping, Kept},
        media::Source,
    };

    /// Has two renditions, and is busy every other time.
    #[derive(Default)]
    struct Shelf(Mutex<(Vec<String>, bool)>);

    impl Library for Shelf {
        fn source<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Arc<dyn Source>, Failure>> {
            async { Err(Failure::Busy) }.boxed()
        }

        fn warm<'a>(&'a self, place: &'a str, _: usize) -> BoxFuture<'a, Result<Bytes, Failure>> {
            let mut state = self.0.lock();
            state.1 = !state.1;
            if state.1 {
                return async { Err(Failure::Busy) }.boxed();
            }
            state.0.push(place.to_owned());
            let body = match place.rsplit('/').next() {
                Some("master.m3u8") => {
                    "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"source-audio/index.m3u8\"\nsource/index.m3u8\n96p/index.m3u8\nhttp://evil/x\n../up\n"
                }
                Some("index.m3u8") => "#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\nseg-1.m4s\n",
                _ => "",
            };
            async { Ok(Bytes::from_static(body.as_bytes())) }.boxed()
        }

        fn keep(&self, _: Keeping) -> BoxFuture<'_, Result<Kept, Failure>> {
            async { Err(Failure::Busy) }.boxed()
        }

        fn keeps(&self) -> bool {
            false
        }
    }

    struct Nobody;

    impl Watcher for Nobody {
        fn progress(&self, _: f64) {}

        fn storing(&self) -> bool {
            true
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_viewers_will_want_is_asked_for_once() {
        for (renditions, parts, wanted) in [
            (&[][..], vec![Part::Poster], "poster.webp"),
            (
                &[],
                Part::all(),
                "poster.webp master.m3u8 manifest.mpd source-audio/index.m3u8 source/index.m3u8 96p/index.m3u8 \
                 96p/init.mp4 96p/seg-1.m4s",
            ),
            (
                &["source"],
                vec![Part::Segments],
                "master.m3u8 manifest.mpd source-audio/index.m3u8 source/index.m3u8 96p/index.m3u8 \
                 source/init.mp4 source/seg-1.m4s",
            ),
        ] {
            let shelf = Shelf::default();
            let renditions = renditions.iter().map(|name: &&str| (*name).to_owned()).collect();
            let ladder = Ladder { source: "/a.mp4".to_owned(), renditions, parts };
            let warmed = run(&shelf, &ladder, &Nobody).await.unwrap();
            let asked: Vec<_> =
                shelf.0.lock().0.iter().map(|place| place.trim_start_matches("/a.mp4/").to_owned()).collect();
            assert_eq!(asked.join(" "), wanted);
            assert_eq!(warmed, asked.len());
        }
    }
}
