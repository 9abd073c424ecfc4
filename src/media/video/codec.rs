//! Sample entries (`stsd`): which codec a track uses, its RFC 6381 name, and the entry's bytes for the init segment.
//! Entries are passed on as the source has them; only QuickTime's own sound description is put into ISO form, since
//! browsers do not read it.

use bytes::Bytes;
use mp4_atom::{Atom, Esds};

use super::Error;
use super::boxes::{BoxRef, Kind, Writer, be_u16, be_u32, children, find, name};

/// Descriptions in one track that are looked at.
const MAX_DESCRIPTIONS: usize = 64;
/// `SampleEntry` and `VisualSampleEntry` fields before the first child box (ISO/IEC 14496-12 §12.1.3).
const VISUAL_FIELDS: usize = 78;
/// `SampleEntry` and `AudioSampleEntry` fields before the first child box (ISO/IEC 14496-12 §12.2.3).
const AUDIO_FIELDS: usize = 28;
/// What QuickTime sound descriptions of version 1 and 2 add to those.
const QUICKTIME_FIELDS: [usize; 3] = [0, 16, 36];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Video { width: u16, height: u16 },
    Audio { channels: u16, sample_rate: u32 },
}

/// A sample entry this server can pass through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The whole box.
    pub(super) bytes: Bytes,
    /// As in `CODECS` (RFC 6381).
    pub(super) codec: String,
    pub(super) medium: Medium,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Description {
    Supported(Entry),
    /// The kind of a sample entry that is not passed through.
    Other(Kind),
}

/// The `number`th description (from 1) in the body of an `stsd` box.
pub(super) fn describe(stsd: &[u8], number: u32, video: bool) -> Result<Description, Error> {
    let entries = stsd.get(8..).ok_or_else(|| Error::malformed("stsd is cut off"))?;
    let index = (number as usize).checked_sub(1).filter(|&index| index < MAX_DESCRIPTIONS);
    let entry = index.and_then(|index| children(entries).nth(index));
    let entry = entry.ok_or_else(|| Error::malformed(format!("no sample description {number}")))??;
    let described = if video { video_entry(&entry)? } else { audio_entry(&entry)? };
    Ok(described.map_or(Description::Other(entry.kind), Description::Supported))
}

/// The shape of a pixel, width to height, of a video sample entry (`pasp`). What makes no sense counts as square.
pub(super) fn pixel_aspect(sample_entry: &[u8]) -> (u32, u32) {
    let boxes = sample_entry.get(8 + VISUAL_FIELDS..).unwrap_or_default();
    let pasp = find(boxes, *b"pasp").ok().flatten();
    let sides = pasp.and_then(|pasp| Some((be_u32(pasp.body, 0)?, be_u32(pasp.body, 4)?)));
    let sane = |(width, height): &(u32, u32)| {
        let narrow = u64::from((*width).min(*height));
        narrow > 0 && u64::from((*width).max(*height)) <= 16 * narrow
    };
    sides.filter(sane).unwrap_or((1, 1))
}

fn video_entry(entry: &BoxRef<'_>) -> Result<Option<Entry>, Error> {
    let cut = || Error::malformed(format!("{} is cut off", name(entry.kind)));
    let config_kind: Kind = match &entry.kind {
        b"avc1" | b"avc3" => *b"avcC",
        b"hvc1" | b"hev1" => *b"hvcC",
        b"av01" => *b"av1C",
        b"vp09" => *b"vpcC",
        _ => return Ok(None),
    };
    let boxes = entry.body.get(VISUAL_FIELDS..).ok_or_else(cut)?;
    let config = find(boxes, config_kind)?
        .ok_or_else(|| Error::malformed(format!("{} without {}", name(entry.kind), name(config_kind))))?
        .body;
    let four_cc = name(entry.kind);
    let codec = match &config_kind {
        b"avcC" => avc_name(&four_cc, config),
        b"hvcC" => hevc_name(&four_cc, config),
        b"av1C" => av1_name(config),
        _ => vp9_name(config),
    };
    let codec = codec.ok_or_else(|| Error::malformed(format!("{} is cut off", name(config_kind))))?;
    let width = be_u16(entry.body, 24).ok_or_else(cut)?;
    let height = be_u16(entry.body, 26).ok_or_else(cut)?;
    if width == 0 || height == 0 {
        return Err(Error::malformed("a video track without a size"));
    }
    Ok(Some(Entry { bytes: without_padding(entry)?, codec, medium: Medium::Video { width, height } }))
}

/// RFC 6381 §3.3: profile, constraint and level bytes as they stand in `avcC`.
fn avc_name(four_cc: &str, avcc: &[u8]) -> Option<String> {
    let [profile, constraints, level] = *avcc.get(1..4)?.first_chunk()?;
    Some(format!("{four_cc}.{profile:02x}{constraints:02x}{level:02x}"))
}

/// ISO/IEC 14496-15 Annex E.3.
fn hevc_name(four_cc: &str, hvcc: &[u8]) -> Option<String> {
    let general = *hvcc.get(1)?;
    let space = ["", "A", "B", "C"][usize::from(general >> 6)];
    let tier = if general & 0x20 == 0 { 'L' } else { 'H' };
    let compatibility = be_u32(hvcc, 2)?.reverse_bits();
    let constraints = hvcc.get(6..12)?;
    let level = hvcc.get(12)?;
    let mut codec = format!("{four_cc}.{space}{}.{compatibility:X}.{tier}{level}", general & 0x1f);
    let used = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        codec.push_str(&format!(".{byte:X}"));
    }
    Some(codec)
}

/// AV1 Codec ISO Media File Format Binding §5.
fn av1_name(av1c: &[u8]) -> Option<String> {
    let (profile, level) = (av1c.get(1)? >> 5, av1c.get(1)? & 0x1f);
    let flags = av1c.get(2)?;
    let tier = if flags & 0x80 == 0 { 'M' } else { 'H' };
    let depth = match flags & 0x60 {
        0x60 => 12,
        0x40 => 10,
        _ => 8,
    };
    Some(format!("av01.{profile}.{level:02}{tier}.{depth:02}"))
}

/// VP Codec ISO Media File Format Binding, "Codecs Parameter String".
fn vp9_name(vpcc: &[u8]) -> Option<String> {
    let [profile, level, depth] = *vpcc.get(4..7)?.first_chunk()?;
    Some(format!("vp09.{profile:02}.{level:02}.{:02}", depth >> 4))
}

fn audio_entry(entry: &BoxRef<'_>) -> Result<Option<Entry>, Error> {
    if !matches!(&entry.kind, b"mp4a" | b"Opus" | b"fLaC" | b"ac-3" | b"ec-3") {
        return Ok(None);
    }
    let cut = || Error::malformed(format!("{} is cut off", name(entry.kind)));
    let version = be_u16(entry.body, 8).ok_or_else(cut)?;
    let extra = *QUICKTIME_FIELDS
        .get(usize::from(version))
        .ok_or_else(|| Error::unsupported(format!("sound description version {version}")))?;
    let boxes = entry.body.get(AUDIO_FIELDS + extra..).ok_or_else(cut)?;
    let channels = be_u16(entry.body, 16).ok_or_else(cut)?;
    // 16.16 fixed point.
    let sample_rate = be_u32(entry.body, 24).ok_or_else(cut)? >> 16;
    let medium = Medium::Audio { channels, sample_rate };
    let simple = |codec: &str| -> Result<Option<Entry>, Error> {
        Ok(Some(Entry { bytes: without_padding(entry)?, codec: codec.to_owned(), medium }))
    };
    match &entry.kind {
        b"Opus" => simple("opus"),
        b"fLaC" => simple("fLaC"),
        b"ac-3" => simple("ac-3"),
        b"ec-3" => simple("ec-3"),
        _ => mpeg4_audio(entry, boxes, version, medium),
    }
}

fn mpeg4_audio(
    entry: &BoxRef<'_>,
    boxes: &[u8],
    version: u16,
    medium: Medium,
) -> Result<Option<Entry>, Error> {
    // QuickTime keeps `esds` within `wave`.
    let esds = match find(boxes, *b"esds")? {
        Some(esds) => Some(esds),
        None => match find(boxes, *b"wave")? {
            Some(wave) => find(wave.body, *b"esds")?,
            None => None,
        },
    };
    let Some(esds) = esds else { return Ok(None) };
    let decoded = Esds::decode_body(&mut &*esds.body).map_err(|e| Error::malformed(format!("esds: {e}")))?;
    let config = decoded.es_desc.dec_config;
    // Writers put 2 into the sample entry whatever the stream has (ISO/IEC 14496-14 §5.6.1).
    let configured = config.dec_specific.as_ref().map(|specific| specific.chan_conf);
    let medium = match (medium, configured) {
        (Medium::Audio { sample_rate, .. }, Some(channels @ 1..=6)) => {
            Medium::Audio { channels: channels.into(), sample_rate }
        }
        (Medium::Audio { sample_rate, .. }, Some(7)) => Medium::Audio { channels: 8, sample_rate },
        (medium, _) => medium,
    };
    let codec = match config.object_type_indication {
        0x40 => {
            let specific = config.dec_specific.filter(|specific| specific.profile > 0);
            let specific = specific.ok_or_else(|| Error::malformed("AAC without its configuration"))?;
            format!("mp4a.40.{}", specific.profile)
        }
        // MPEG-2 AAC (main, LC, SSR) and MP3 in MPEG-2 and MPEG-1.
        other @ (0x66..=0x69 | 0x6b) => format!("mp4a.{other:x}"),
        _ => return Ok(None),
    };
    let bytes = if version == 0 { without_padding(entry)? } else { iso_audio_entry(entry, &esds, medium) };
    Ok(Some(Entry { bytes, codec, medium }))
}

/// An `mp4a` entry in ISO form around the `esds` of a QuickTime one.
fn iso_audio_entry(entry: &BoxRef<'_>, esds: &BoxRef<'_>, medium: Medium) -> Bytes {
    let (channels, sample_rate) = match medium {
        // Version 2 writes 3 channels here and the real ones elsewhere; decoders take them from `esds` anyway.
        Medium::Audio { channels, sample_rate } => (channels, sample_rate),
        Medium::Video { .. } => (2, 0),
    };
    let mut w = Writer::default();
    w.nest(entry.kind, |w| {
        w.zeros(6);
        w.u16(1);
        w.zeros(8);
        w.u16(channels);
        w.u16(16);
        w.zeros(4);
        w.u32(sample_rate << 16);
        w.raw(esds.raw);
    });
    w.finish().into()
}

/// The entry's bytes, less the few zero bytes with which QuickTime ends a list of boxes: some browsers take them for
/// a cut box.
fn without_padding(entry: &BoxRef<'_>) -> Result<Bytes, Error> {
    let fields = match &entry.kind {
        b"mp4a" | b"Opus" | b"fLaC" | b"ac-3" | b"ec-3" => AUDIO_FIELDS,
        _ => VISUAL_FIELDS,
    };
    let mut used = fields;
    for child in children(entry.body.get(fields..).unwrap_or_default()) {
        used += child?.raw.len();
    }
    let padding = entry.body.len().saturating_sub(used);
    let mut bytes = entry.raw.to_vec();
    bytes.truncate(entry.raw.len() - padding);
    // Sample entries lie in `moov`, far below 4 GiB; their headers are 8 bytes in all but odd files.
    if padding > 0 && entry.raw.len() - entry.body.len() == 8 {
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        return Ok(bytes.into());
    }
    Ok(Bytes::copy_from_slice(entry.raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codec_names() {
        assert_eq!(avc_name("avc1", &[1, 0x64, 0x00, 0x1f]).unwrap(), "avc1.64001f");
        let hvcc = [1, 0x01, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93];
        assert_eq!(hevc_name("hvc1", &hvcc).unwrap(), "hvc1.1.6.L93.B0");
        let main10 = [1, 0x22, 0x20, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 120];
        assert_eq!(hevc_name("hev1", &main10).unwrap(), "hev1.2.4.H120.90");
        assert_eq!(av1_name(&[0x81, 0x08, 0x4c, 0]).unwrap(), "av01.0.08M.10");
        assert_eq!(vp9_name(&[1, 0, 0, 0, 0, 31, 0x82, 2, 2, 2, 0, 0]).unwrap(), "vp09.00.31.08");
        assert_eq!(avc_name("avc1", &[1, 0x64]), None);
    }
}
