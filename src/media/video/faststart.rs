//! Progressive delivery of files whose `moov` stands behind the media data as if it stood in front, so that players can
//! start without asking for the end first. Same boxes, same length; only chunk offsets differ.

use std::ops::Range;

use super::Error;
use super::boxes::{be_u32, be_u64, children, find};
use super::scan;
use super::splice::Splice;
use crate::media::Source;

/// `ftyp` lists brands; real ones have less than 100 bytes.
const MAX_FTYP_BYTES: u64 = 4096;

/// How to deliver a file with `moov` in front. `None`: as it is, because `moov` is in front already, or because this is no
/// MP4, a fragmented one, or one that says where its bytes are in ways that are not patched here. Only reading fails.
///
/// Holds a copy of `moov` (at most 64 MiB, one or two MiB for an hour of video).
pub async fn plan(source: &dyn Source) -> Result<Option<Splice>, Error> {
    match plan_strictly(source).await {
        Err(Error::Read(error)) => Err(Error::Read(error)),
        Err(_) => Ok(None),
        Ok(plan) => Ok(plan),
    }
}

async fn plan_strictly(source: &dyn Source) -> Result<Option<Splice>, Error> {
    let located = scan::locate_moov(source).await?;
    let late = located.before.iter().any(|found| found.kind == *b"mdat");
    // Items of a file-level `meta` are found by absolute offsets, too.
    if !late || located.before.iter().any(|found| found.kind == *b"meta") {
        return Ok(None);
    }
    let front = match located.before.first() {
        Some(first) if first.kind == *b"ftyp" && first.end <= MAX_FTYP_BYTES => first.end,
        _ => 0,
    };
    let moov = located.moov;
    let moov_len = moov.end - moov.start;
    let mut header = Vec::with_capacity((front + moov_len) as usize);
    header.extend_from_slice(&source.read(0..front).await?);
    header.extend_from_slice(&source.read(moov.start..moov.end).await?);
    let copy = header.get_mut(front as usize..).unwrap_or_default();
    if be_u32(copy, 0) == Some(0) {
        // "To the end of the file" is no longer true; `moov` is bounded far below 4 GiB.
        copy.get_mut(..4).unwrap_or_default().copy_from_slice(&(moov_len as u32).to_be_bytes());
    }
    let body = copy.get_mut(moov.header_len as usize..).unwrap_or_default();
    if relocate(body, &(front..moov.start), moov_len)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Splice::new(header.into(), [front..moov.start, moov.end..source.len()])))
}

/// Adds `by` to all chunk offsets that point into `moved`. `None` if that cannot be done in place.
fn relocate(moov: &mut [u8], moved: &Range<u64>, by: u64) -> Result<Option<()>, Error> {
    if find(moov, *b"mvex")?.is_some() || has_items(moov)? {
        return Ok(None);
    }
    let mut tables = Vec::new();
    for trak in children(moov) {
        let trak = trak?;
        if trak.kind != *b"trak" {
            continue;
        }
        if has_items(trak.body)? {
            return Ok(None);
        }
        // Positions add up from the start of the body of each parent.
        let (mut body, mut start) = (trak.body, trak.body_start);
        for kind in [*b"mdia", *b"minf", *b"stbl"] {
            let Some(child) = find(body, kind)? else { return Ok(None) };
            (body, start) = (child.body, start + child.body_start);
        }
        // Positions of encryption data.
        if find(body, *b"saio")?.is_some() {
            return Ok(None);
        }
        for table in children(body) {
            let table = table?;
            let wide = match &table.kind {
                b"stco" => false,
                b"co64" => true,
                _ => continue,
            };
            let (Some(count), entries) = (be_u32(table.body, 4), start + table.body_start + 8) else {
                return Ok(None);
            };
            let len = u64::from(count) * if wide { 8 } else { 4 };
            if len > table.body.len().saturating_sub(8) as u64 {
                return Ok(None);
            }
            // `len` fits the table, and the table is in memory.
            tables.push((entries..entries + len as usize, wide));
        }
    }
    for (range, wide) in tables {
        let entries = moov.get_mut(range).unwrap_or_default();
        let patched = if wide { shift_wide(entries, moved, by) } else { shift_narrow(entries, moved, by) };
        if patched.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(()))
}

fn shift_wide(entries: &mut [u8], moved: &Range<u64>, by: u64) -> Option<()> {
    for entry in entries.as_chunks_mut::<8>().0 {
        let offset = be_u64(entry, 0)?;
        if moved.contains(&offset) {
            *entry = offset.checked_add(by)?.to_be_bytes();
        }
    }
    Some(())
}

/// Fails where an offset no longer fits 32 bits; then the file is delivered as it is.
fn shift_narrow(entries: &mut [u8], moved: &Range<u64>, by: u64) -> Option<()> {
    for entry in entries.as_chunks_mut::<4>().0 {
        let offset = u64::from(be_u32(entry, 0)?);
        if moved.contains(&offset) {
            *entry = u32::try_from(offset + by).ok()?.to_be_bytes();
        }
    }
    Some(())
}

/// Whether a `meta` box names items by where they are in the file.
fn has_items(parent: &[u8]) -> Result<bool, Error> {
    let Some(meta) = find(parent, *b"meta")? else { return Ok(false) };
    // A full box in MP4, a plain one in QuickTime; its children begin with `hdlr`.
    let full = meta.body.get(8..12) == Some(b"hdlr");
    let plain = meta.body.get(4..8) == Some(b"hdlr");
    let boxes = match (full, plain) {
        (true, _) => meta.body.get(4..).unwrap_or_default(),
        (_, true) => meta.body,
        _ => return Ok(true),
    };
    Ok(find(boxes, *b"iloc")?.is_some())
}

#[cfg(test)]
mod tests {
    use super::super::boxes::Writer;
    use super::*;

    fn moov(table: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut w = Writer::default();
        w.nest(*b"trak", |w| {
            w.nest(*b"mdia", |w| w.nest(*b"minf", |w| w.nest(*b"stbl", table)));
        });
        w.finish()
    }

    fn stco(offsets: &[u32]) -> Vec<u8> {
        moov(|w| {
            w.nest_full(*b"stco", 0, 0, |w| {
                w.u32(offsets.len() as u32);
                offsets.iter().for_each(|&offset| w.u32(offset));
            });
        })
    }

    fn co64(offsets: &[u64]) -> Vec<u8> {
        moov(|w| {
            w.nest_full(*b"co64", 0, 0, |w| {
                w.u32(offsets.len() as u32);
                offsets.iter().for_each(|&offset| w.u64(offset));
            });
        })
    }

    #[test]
    fn only_offsets_of_what_moves_change() {
        let mut narrow = stco(&[31, 32, 500, 999, 1000, 2000]);
        relocate(&mut narrow, &(32..1000), 100).unwrap().unwrap();
        assert_eq!(narrow, stco(&[31, 132, 600, 1099, 1000, 2000]));
        let mut wide = co64(&[31, 32, 999, 1 << 40]);
        relocate(&mut wide, &(32..1000), 100).unwrap().unwrap();
        assert_eq!(wide, co64(&[31, 132, 1099, 1 << 40]));
    }

    #[test]
    fn what_cannot_be_patched_is_left_alone() {
        let near = u32::MAX - 50;
        let cases = [
            ("beyond 32 bits", stco(&[40, near])),
            ("table cut off", {
                let mut bytes = stco(&[40, 50]);
                let at = bytes.len() - 12;
                bytes[at..at + 4].copy_from_slice(&3u32.to_be_bytes());
                bytes
            }),
            ("encryption data", moov(|w| w.nest(*b"saio", |_| {}))),
            ("fragments follow", {
                let mut w = Writer::default();
                w.nest(*b"mvex", |_| {});
                w.finish()
            }),
            ("items", {
                let mut w = Writer::default();
                w.nest_full(*b"meta", 0, 0, |w| {
                    w.nest(*b"hdlr", |_| {});
                    w.nest(*b"iloc", |_| {});
                });
                w.finish()
            }),
            ("no sample table", {
                let mut w = Writer::default();
                w.nest(*b"trak", |w| w.nest(*b"mdia", |_| {}));
                w.finish()
            }),
        ];
        for (what, mut bytes) in cases {
            assert!(relocate(&mut bytes, &(32..1 << 33), 100).unwrap().is_none(), "{what}");
        }
    }
}
