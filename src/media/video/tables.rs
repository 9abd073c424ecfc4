//! Builds a sample table from the boxes of `stbl`. Counts are checked against the bytes that are there, and against
//! `MAX_SAMPLES`, before anything is allocated for them.

use mp4_atom::{Atom, Co64, Ctts, Stco, Stsc, Stss, Stsz, StszSamples, Stts};

use super::Error;
use super::boxes::{Kind, be_u32, find, name, require};
use super::samples::{CompositionRun, SampleTable, Sizes, TimeRun};

/// Samples of one track. 2^21 are nine hours of 60 frames a second, or twelve hours of AAC at 48 kHz.
const MAX_SAMPLES: u32 = 1 << 21;

/// A sample table and the sample description (from 1) that its samples use.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) samples: SampleTable,
    pub(super) description: u32,
}

/// `stbl` is the body of that box, `source_len` the length of the file that chunks must lie in.
pub(super) fn build(stbl: &[u8], source_len: u64) -> Result<Tables, Error> {
    let (count, sizes) = sample_sizes(stbl)?;
    if count == 0 {
        return Err(Error::malformed("a track without samples"));
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
    Ok(Tables { samples, description })
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
fn check_extent(samples: &SampleTable, source_len: u64) -> Result<(), Error> {
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
