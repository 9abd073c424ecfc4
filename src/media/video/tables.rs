//! Builds a sample table from the boxes of `stbl`. Counts are checked against the bytes that are there, and against
//! `MAX_SAMPLES`, before anything is allocated for them.

use mp4_atom::{Atom, Co64, Ctts, Stco, Stsc, Stss, Stsz, StszSamples, Stts};

use super::Error;
use super::boxes::{Kind, be_u32, find, name, require};
use super::samples::{CompositionRun, SampleTable, Sizes, TimeRun};

/// Samples of one track. 2^21 are nine hours of 60 frames a second, or twelve hours of AAC at 48 kHz.
pub(super) const MAX_SAMPLES: u32 = 1 << 21;

/// A sample table and the sample description (from 1) that its samples use.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) samples: SampleTable,
    pub(super) description: u32,
}

/// `stbl` is the body of that box, `source_len` the length of the file that chunks must lie in. `None`: no samples.
pub(super) fn build(stbl: &[u8], source_len: u64) -> Result<Option<Tables>, Error> {
    let (count, sizes) = sample_sizes(stbl)?;
    if count == 0 {
        return Ok(None);
    }
    let times = times(&table::<Stts>(stbl, 8)?.entries, count)?;
    let compositions = match find(stbl, Ctts::KIND.into())? {
        Some(_) => compositions(&table::<Ctts>(stbl, 8)?, count)?,
        None => Box::default(),
    };
    let sync = match find(stbl, Stss::KIND.into())? {
        Some(_) => Some(sync_samples(table::<Stss>(stbl, 4)?.entries, count)?),
        None => None,
    };
    let offsets: Box<[u64]> = match find(stbl, Stco::KIND.into())? {
        Some(_) => table::<Stco>(stbl, 4)?.entries.into_iter().map(u64::from).collect(),
        None => table::<Co64>(stbl, 8)?.entries.into_boxed_slice(),
    };
    let (chunk_first, description) = chunks(&table::<Stsc>(stbl, 12)?, offsets.len(), count)?;
    let mut offsets = offsets.into_vec();
    offsets.truncate(chunk_first.len());
    let samples =
        SampleTable { count, sizes, chunk_first, chunk_offset: offsets.into(), times, compositions, sync };
    check_extent(&samples, source_len)?;
    Ok(Some(Tables { samples, description }))
}

/// Decodes a table of `entry_len`-byte entries, of which only those that the box claims and has are looked at.
fn table<T: Atom>(stbl: &[u8], entry_len: usize) -> Result<T, Error> {
    let kind: Kind = T::KIND.into();
    let body = require(stbl, kind)?;
    decode_table(body, 8, claimed(body, 4, kind)?, entry_len, kind)
}

fn decode_table<T: Atom>(
    body: &[u8],
    header_len: usize,
    count: u32,
    entry_len: usize,
    kind: Kind,
) -> Result<T, Error> {
    // No overflow: `count` is at most 2^21.
    let exact = body
        .get(..header_len + count as usize * entry_len)
        .ok_or_else(|| Error::malformed(format!("{} claims {count} entries and has fewer", name(kind))))?;
    T::decode_body(&mut &*exact).map_err(|error| Error::malformed(format!("{}: {error}", name(kind))))
}

fn claimed(body: &[u8], at: usize, kind: Kind) -> Result<u32, Error> {
    let count = be_u32(body, at).ok_or_else(|| Error::malformed(format!("{} is cut off", name(kind))))?;
    if count > MAX_SAMPLES {
        return Err(Error::unsupported(format!("{} claims {count} entries", name(kind))));
    }
    Ok(count)
}

fn sample_sizes(stbl: &[u8]) -> Result<(u32, Sizes), Error> {
    let kind: Kind = Stsz::KIND.into();
    if let Some(stsz) = find(stbl, kind)? {
        let count = claimed(stsz.body, 8, kind)?;
        let entry_len = if be_u32(stsz.body, 4) == Some(0) { 4 } else { 0 };
        let stsz: Stsz = decode_table(stsz.body, 12, count, entry_len, kind)?;
        return Ok(match stsz.samples {
            StszSamples::Identical { count, size } => (count, Sizes::Same(size)),
            StszSamples::Different { sizes } => (count, Sizes::each(sizes)),
        });
    }
    if find(stbl, *b"stz2")?.is_some() {
        return Err(Error::unsupported("compact sample sizes (stz2)"));
    }
    Err(Error::malformed("no stsz box"))
}

fn times(entries: &[mp4_atom::SttsEntry], count: u32) -> Result<Box<[TimeRun]>, Error> {
    let mut runs = Vec::new();
    // At most 2^21 samples of less than 2^32 each: below 2^54.
    let (mut sample, mut time) = (0u32, 0u64);
    for entry in entries.iter().filter(|entry| entry.sample_count > 0) {
        if sample == count {
            break;
        }
        runs.push(TimeRun { first_sample: sample, duration: entry.sample_delta, first_time: time });
        let covered = entry.sample_count.min(count - sample);
        sample += covered;
        time += u64::from(covered) * u64::from(entry.sample_delta);
    }
    if sample < count {
        return Err(Error::malformed(format!("stts times {sample} of {count} samples")));
    }
    Ok(runs.into())
}

/// Samples that `ctts` leaves out have offset 0, as in other demuxers.
fn compositions(ctts: &Ctts, count: u32) -> Result<Box<[CompositionRun]>, Error> {
    let mut runs: Vec<CompositionRun> = Vec::new();
    let mut sample = 0u32;
    for entry in &ctts.entries {
        if entry.sample_count == 0 {
            continue;
        }
        if sample >= count {
            break;
        }
        // Version 0 is unsigned on paper, but QuickTime has always written negative offsets there.
        let offset = entry.sample_offset as i32;
        if runs.last().is_none_or(|last| last.offset != offset) {
            runs.push(CompositionRun { first_sample: sample, offset });
        }
        sample = sample.saturating_add(entry.sample_count);
    }
    if sample > 0 && sample < count {
        runs.push(CompositionRun { first_sample: sample, offset: 0 });
    }
    Ok(runs.into())
}

fn sync_samples(numbers: Vec<u32>, count: u32) -> Result<Box<[u32]>, Error> {
    let mut indexes: Vec<u32> = Vec::with_capacity(numbers.len());
    for number in numbers {
        let index = number.checked_sub(1).ok_or_else(|| Error::malformed("stss names sample 0"))?;
        if indexes.last().is_some_and(|&last| last >= index) {
            return Err(Error::malformed("stss does not ascend"));
        }
        if index < count {
            indexes.push(index);
        }
    }
    Ok(indexes.into())
}

/// The first sample of each chunk that is used, and the one sample description in use.
fn chunks(stsc: &Stsc, chunk_count: usize, count: u32) -> Result<(Box<[u32]>, u32), Error> {
    let entries = &stsc.entries;
    let description = entries.first().map_or(1, |entry| entry.sample_description_index);
    let mut firsts = Vec::with_capacity(chunk_count);
    let mut sample = 0u32;
    for (i, entry) in entries.iter().enumerate() {
        if sample >= count {
            break;
        }
        let expected = firsts.len() as u64 + 1;
        if u64::from(entry.first_chunk) != expected || entry.samples_per_chunk == 0 {
            return Err(Error::malformed("stsc does not ascend from chunk 1"));
        }
        if entry.sample_description_index != description {
            return Err(Error::unsupported("a track whose codec parameters change"));
        }
        let until = match entries.get(i + 1) {
            Some(next) if next.first_chunk <= entry.first_chunk => {
                return Err(Error::malformed("stsc does not ascend from chunk 1"));
            }
            Some(next) => (next.first_chunk as usize - 1).min(chunk_count),
            None => chunk_count,
        };
        while firsts.len() < until && sample < count {
            firsts.push(sample);
            sample = sample.saturating_add(entry.samples_per_chunk);
        }
    }
    if sample < count {
        return Err(Error::malformed(format!("chunks hold {sample} of {count} samples")));
    }
    Ok((firsts.into(), description))
}

/// Each chunk lies within the source, and samples do not share so many bytes that they exceed it.
pub(super) fn check_extent(samples: &SampleTable, source_len: u64) -> Result<(), Error> {
    let firsts = samples.chunk_first.iter().copied();
    let ends = samples.chunk_first.iter().skip(1).copied().chain([samples.count]);
    for ((first, end), &offset) in firsts.zip(ends).zip(&samples.chunk_offset) {
        let chunk_end = offset.checked_add(samples.bytes(first..end));
        if chunk_end.is_none_or(|chunk_end| chunk_end > source_len) {
            return Err(Error::malformed("samples beyond the end of the file"));
        }
    }
    if samples.bytes(0..samples.count) > source_len {
        return Err(Error::malformed("samples overlap"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::boxes::Writer;
    use super::*;

    fn list(w: &mut Writer, kind: &Kind, entries: &[&[u32]]) {
        w.nest_full(*kind, 0, 0, |w| {
            w.u32(entries.len() as u32);
            entries.iter().copied().flatten().for_each(|&value| w.u32(value));
        });
    }

    /// Ten samples of 1 to 10 bytes: three chunks of three, and one.
    fn stbl(stts: &[&[u32]], ctts: &[&[u32]], stsc: &[&[u32]]) -> Vec<u8> {
        let mut w = Writer::default();
        list(&mut w, b"stts", stts);
        list(&mut w, b"ctts", ctts);
        list(&mut w, b"stsc", stsc);
        list(&mut w, b"stss", &[&[1], &[6]]);
        list(&mut w, b"stco", &[&[100], &[200], &[300], &[400]]);
        w.nest_full(*b"stsz", 0, 0, |w| {
            w.u32(0);
            w.u32(10);
            (1..=10).for_each(|size| w.u32(size));
        });
        w.finish()
    }

    #[test]
    fn runs_become_samples() {
        let ctts: [&[u32]; 2] = [&[4, 20], &[3, u32::MAX - 4]];
        let boxes = stbl(&[&[4, 10], &[0, 7], &[100, 5]], &ctts, &[&[1, 3, 1], &[4, 1, 1]]);
        let table = build(&boxes, 410).unwrap().unwrap().samples;
        let samples: Vec<_> = table.iter(0..99).collect();
        let of = |f: fn(&super::super::Sample) -> i64| -> Vec<i64> { samples.iter().map(f).collect() };
        assert_eq!(of(|s| s.size.into()), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(of(|s| s.offset as i64), [100, 101, 103, 200, 204, 209, 300, 307, 315, 400]);
        assert_eq!(of(|s| s.decode_time as i64), [0, 10, 20, 30, 40, 45, 50, 55, 60, 65]);
        // Version 0 with negative numbers, and samples that the box forgot.
        assert_eq!(of(|s| s.composition_offset.into()), [20, 20, 20, 20, -5, -5, -5, 0, 0, 0]);
        assert_eq!(of(|s| s.keyframe.into()), [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        // Starting anywhere gives the same.
        for start in 0..10 {
            let rest: Vec<_> = table.iter(start..10).collect();
            assert_eq!(rest, samples[start as usize..], "from {start}");
            assert_eq!(table.decode_time(start), samples[start as usize].decode_time);
        }
        assert_eq!(table.decode_time(10), 70);
        for time in 0..80 {
            let first = samples.iter().position(|s| s.decode_time >= time).unwrap_or(10);
            assert_eq!(table.first_at_or_after(time) as usize, first, "at {time}");
        }
        assert_eq!(table.bytes(3..6), 4 + 5 + 6);
    }

    #[test]
    fn sums_of_sizes_over_many_marks() {
        let sizes: Vec<u32> = (0..2000).collect();
        let table = SampleTable {
            count: 2000,
            sizes: Sizes::each(sizes.clone()),
            chunk_first: Box::new([0]),
            chunk_offset: Box::new([0]),
            times: Box::new([TimeRun { first_sample: 0, duration: 1, first_time: 0 }]),
            compositions: Box::default(),
            sync: None,
        };
        for (start, end) in [(0, 0), (0, 2000), (255, 257), (256, 512), (1, 1999), (1999, 2000), (512, 2000)]
        {
            let sum: u64 = sizes[start..end].iter().map(|&size| u64::from(size)).sum();
            assert_eq!(table.bytes(start as u32..end as u32), sum, "{start}..{end}");
        }
    }

    #[test]
    fn contradictions_between_tables() {
        let (stts, stsc): ([&[u32]; 1], [&[u32]; 1]) = ([&[10, 1]], [&[1, 3, 1]]);
        assert!(build(&stbl(&stts, &[], &stsc), 410).is_ok());
        let cases: [(&str, Vec<u8>, u64); 6] = [
            ("times run out", stbl(&[&[9, 1]], &[], &stsc), 410),
            ("chunks run out", stbl(&stts, &[], &[&[1, 2, 1]]), 410),
            ("chunks out of order", stbl(&stts, &[], &[&[1, 3, 1], &[1, 3, 1]]), 410),
            ("chunks begin late", stbl(&stts, &[], &[&[2, 3, 1]]), 410),
            ("beyond the end", stbl(&stts, &[], &stsc), 409),
            ("two descriptions", stbl(&stts, &[], &[&[1, 3, 1], &[3, 3, 2]]), 410),
        ];
        for (what, boxes, source_len) in cases {
            assert!(build(&boxes, source_len).is_err(), "{what}");
        }
    }
}
