//! The store on disk, written at shutdown and read at start.
//!
//! Layout, little-endian: magic, then per series `1`, label count, labels (length-prefixed), chunk count, chunks
//! (first time, sample count, coding, length-prefixed bytes); then `0` and the XXH3-64 of everything before.
//! A file that is short, foreign or damaged is refused whole.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

use xxhash_rust::xxh3::Xxh3;

use super::{
    Error, Store,
    chunk::{Open, Sealed},
    table::Series,
};
use crate::model::Labels;

const MAGIC: &[u8; 8] = b"MLRSER03";
/// Without packed chunks, and without chunks of whole numbers.
const MAGICS_BEFORE: [&[u8; 8]; 2] = [b"MLRSER02", b"MLRSER01"];
/// Longest string or chunk; a longer length is damage.
const FIELD_BYTES: u32 = 1 << 20;
const LABELS: u32 = 1 << 10;
const CHUNKS: u32 = 1 << 20;

impl Store {
    /// Replaces the file at once: a crash leaves the old or the new one. Returns the number of series.
    pub fn save(&self, path: &Path) -> Result<usize, Error> {
        self.write_all(path).map_err(|source| Error::SnapshotIo { path: path.display().to_string(), source })
    }

    /// Returns the number of series; zero when there is no file.
    pub fn load(&self, path: &Path) -> Result<usize, Error> {
        let name = || path.display().to_string();
        let failed = |source| Error::SnapshotIo { path: name(), source };
        let length = match std::fs::metadata(path) {
            Ok(meta) => meta.len(),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(other) => return Err(failed(other)),
        };
        let damaged = |problem| Error::SnapshotContent { path: name(), problem };
        let body = length.checked_sub(8).ok_or_else(|| damaged("too short"))?;
        verify(path, body).map_err(failed)?.then_some(()).ok_or_else(|| damaged("checksum differs"))?;
        let mut file = BufReader::new(File::open(path).map_err(failed)?.take(body));
        self.read_all(&mut file).map_err(failed)?.ok_or_else(|| damaged("malformed"))
    }

    fn write_all(&self, path: &Path) -> io::Result<usize> {
        let partial = path.with_extension("partial");
        let file = File::create(&partial)?;
        let mut out = Hashing { inner: BufWriter::new(file), hash: Xxh3::new() };
        out.write_all(MAGIC)?;
        let mut count = 0;
        self.for_each_series(&mut |series| {
            count += 1;
            write_series(&mut out, series)
        })?;
        out.write_all(&[0])?;
        let sum = out.hash.digest();
        let mut file = out.inner;
        file.write_all(&sum.to_le_bytes())?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&partial, path)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(count)
    }

    /// None when the content is malformed.
    fn read_all(&self, file: &mut impl Read) -> io::Result<Option<usize>> {
        let magic = array::<8>(file)?;
        if magic != *MAGIC && !MAGICS_BEFORE.contains(&&magic) {
            return Ok(None);
        }
        let mut count = 0;
        loop {
            match array::<1>(file)? {
                [0] => return Ok(Some(count)),
                [1] => {}
                _ => return Ok(None),
            }
            let Some((labels, chunks)) = read_series(file)? else { return Ok(None) };
            self.restore(&labels, chunks);
            count += 1;
        }
    }
}

struct Hashing<W> {
    inner: W,
    hash: Xxh3,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn verify(path: &Path, body: u64) -> io::Result<bool> {
    let mut file = BufReader::new(File::open(path)?);
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut left = body;
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = file.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Ok(false);
        }
        hash.update(&buffer[..read]);
        left -= read as u64;
    }
    Ok(array::<8>(&mut file)? == hash.digest().to_le_bytes())
}

fn write_series(out: &mut impl Write, series: &Series) -> io::Result<()> {
    out.write_all(&[1])?;
    out.write_all(&(series.labels.len() as u32).to_le_bytes())?;
    for label in series.labels.iter() {
        write_field(out, label.name.as_bytes())?;
        write_field(out, label.value.as_bytes())?;
    }
    out.write_all(&(series.chunks() as u32).to_le_bytes())?;
    let chunks = series.sealed.iter().map(Sealed::encode).chain(series.open.as_ref().map(Open::encode));
    for (first_at, count, coding, bytes) in chunks {
        out.write_all(&first_at.to_le_bytes())?;
        out.write_all(&count.to_le_bytes())?;
        out.write_all(&[coding])?;
        write_field(out, bytes)?;
    }
    Ok(())
}

fn read_series(file: &mut impl Read) -> io::Result<Option<(Labels, Vec<Sealed>)>> {
    let Some(count) = read_count(file, LABELS)? else { return Ok(None) };
    let mut pairs = Vec::new();
    for _ in 0..count {
        let (Some(name), Some(value)) = (read_text(file)?, read_text(file)?) else { return Ok(None) };
        pairs.push((name, value));
    }
    let labels = Labels::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let Some(count) = read_count(file, CHUNKS)? else { return Ok(None) };
    let mut chunks: Vec<Sealed> = Vec::new();
    for _ in 0..count {
        let first_at = i64::from_le_bytes(array(file)?);
        let samples = u16::from_le_bytes(array(file)?);
        let [coding] = array(file)?;
        let Some(bytes) = read_field(file)? else { return Ok(None) };
        let Some(chunk) = Sealed::decode(first_at, samples, coding, bytes) else { return Ok(None) };
        if chunks.last().is_some_and(|before| before.last_at() >= chunk.first_at()) {
            return Ok(None);
        }
        chunks.push(chunk);
    }
    Ok(Some((labels, chunks)))
}

fn write_field(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&(bytes.len() as u32).to_le_bytes())?;
    out.write_all(bytes)
}

fn read_count(file: &mut impl Read, limit: u32) -> io::Result<Option<u32>> {
    let count = u32::from_le_bytes(array(file)?);
    Ok((count <= limit).then_some(count))
}

fn read_field(file: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = read_count(file, FIELD_BYTES)? else { return Ok(None) };
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

fn read_text(file: &mut impl Read) -> io::Result<Option<String>> {
    Ok(read_field(file)?.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn array<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{METRIC_NAME, STALE_NAN, Sample},
        scrape::Sink,
        series::{Bounds, Matcher},
    };

    fn store() -> Store {
        Store::new(Bounds { retention: Duration::from_secs(3600), max_series: 100, max_bytes: 1 << 20 })
    }

    fn filled() -> Store {
        let store = store();
        for job in ["a", "b"] {
            let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("job", job)]);
            let id = store.intern(&labels).unwrap();
            let samples: Vec<_> =
                (0..700).map(|n| (id, Sample { at: n * 15_000, value: n as f64 })).collect();
            store.append(&samples);
            store.append(&[(id, Sample { at: 700 * 15_000, value: STALE_NAN })]);
        }
        store
    }

    #[test]
    fn everything_survives_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("series.snapshot");
        let before = filled();
        assert_eq!(before.save(&path).unwrap(), 2);
        let after = store();
        assert_eq!(after.load(&path).unwrap(), 2);
        let all = |store: &Store| -> Vec<_> {
            let mut found = store.select(&[], 0, i64::MAX, 10_000).unwrap();
            found.sort_by(|a, b| a.labels.cmp(&b.labels));
            found.into_iter().map(|series| (series.labels, series.samples)).collect()
        };
        assert_eq!(all(&before), all(&after));
        assert_eq!(before.stats().samples, after.stats().samples);
        let id = after.intern(&Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a")])).unwrap();
        assert_eq!(after.append(&[(id, Sample { at: 20_000_000, value: 3.0 })]).accepted, 1);
        let found = after.select(&[Matcher::equal("job", "a")], 20_000_000, 20_000_000, 10).unwrap();
        assert_eq!(found[0].samples, [Sample { at: 20_000_000, value: 3.0 }]);
    }

    #[test]
    fn a_missing_file_is_an_empty_store() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(store().load(&folder.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn damage_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("series.snapshot");
        filled().save(&path).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            std::fs::write(&path, &bad).unwrap();
            assert!(store().load(&path).is_err(), "byte {at}");
        }
        for length in [0, 5, 8, 20, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(store().load(&path).is_err(), "cut to {length}");
        }
    }
}
