//! The boxes of a HEIF file (ISO/IEC 23008-12 §6): items, where they lie, what they are about, their properties. Every list has a
//! bound, and no number of the file is a length of anything that is allocated.

use super::{Place, corrupt};
use crate::media::image::error::Error;

/// Boxes looked at in one container.
const MAX_BOXES: usize = 512;
/// Entries of a list, and extents of all items together.
const MAX_ENTRIES: usize = 4096;

pub(super) struct Items<'a> {
    main: u32,
    items: Vec<Item>,
    /// From, kind, to.
    references: Vec<(u32, [u8; 4], u32)>,
    properties: Vec<Property<'a>>,
    /// Item, number of the property from 1, whether it is essential.
    associations: Vec<(u32, usize, bool)>,
}

#[derive(Clone)]
pub(super) struct Item {
    pub(super) id: u32,
    pub(super) kind: [u8; 4],
    pub(super) place: Place,
}

#[derive(Clone, Copy)]
pub(super) struct Property<'a> {
    pub(super) kind: &'a [u8; 4],
    pub(super) place: Place,
    pub(super) body: &'a [u8],
}

impl<'a> Items<'a> {
    pub(super) fn read(source: &'a [u8]) -> Result<Self, Error> {
        let meta = boxes(source, (0, source.len()))
            .find(|(kind, _)| *kind == b"meta")
            .map(|(_, place)| place)
            .ok_or_else(|| corrupt("no list of pictures"))?;
        let meta = (meta.0 + 4, within(source, meta)?.1);
        let mut main = None;
        let (mut items, mut places, mut data) = (Vec::new(), Vec::new(), None);
        let (mut references, mut properties, mut associations) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, place) in boxes(source, meta) {
            let place = within(source, place)?;
            let mut fields = Fields::of(source, place);
            match kind {
                b"pitm" => {
                    let version = fields.version()?;
                    main = Some(fields.id(version >= 1)?);
                }
                b"iinf" => items = infos(source, place, &mut fields)?,
                b"iloc" => places = locations(&mut fields)?,
                b"iref" => references = about(source, place, &mut fields)?,
                b"idat" => data = Some(place),
                b"iprp" => {
                    for (kind, place) in boxes(source, place) {
                        let place = within(source, place)?;
                        match kind {
                            b"ipco" => {
                                for (kind, place) in boxes(source, place) {
                                    let place = within(source, place)?;
                                    let body = source.get(place.0..place.1).unwrap_or_default();
                                    properties.push(Property { kind, place, body });
                                    bounded(properties.len())?;
                                }
                            }
                            b"ipma" => {
                                associations.extend(associated(&mut Fields::of(source, place))?);
                                bounded(associations.len())?;
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let items = items.into_iter().filter_map(|(id, kind)| {
            let (_, inside, place) = places.iter().find(|(of, ..)| *of == id)?;
            let base = if *inside { data?.0 } else { 0 };
            Some(Item { id, kind, place: (base.checked_add(place.0)?, base.checked_add(place.1)?) })
        });
        let main = main.ok_or_else(|| corrupt("no main picture"))?;
        Ok(Self { main, items: items.collect(), references, properties, associations })
    }

    pub(super) fn main(&self) -> Result<&Item, Error> {
        self.get(self.main).ok_or_else(|| corrupt("the main picture is nowhere"))
    }

    pub(super) fn get(&self, id: u32) -> Option<&Item> {
        self.items.iter().find(|item| item.id == id)
    }

    /// Items that are about this one, and in what way; and what this one says of itself in the same manner.
    pub(super) fn about(&self, id: u32) -> impl Iterator<Item = (u32, [u8; 4])> {
        let about = move |(from, kind, to): &(u32, [u8; 4], u32)| {
            if *to == id {
                Some((*from, *kind))
            } else {
                (kind == b"prem" && *from == id).then_some((*to, *kind))
            }
        };
        self.references.iter().filter_map(about)
    }

    pub(super) fn properties(&self, id: u32) -> impl Iterator<Item = (Property<'a>, bool)> {
        self.associations.iter().filter(move |(of, ..)| *of == id).filter_map(|(_, number, essential)| {
            Some((*self.properties.get(number.checked_sub(1)?)?, *essential))
        })
    }
}

/// Kinds and bodies of the boxes in a place. None goes on behind it, but for what the file itself is too short for.
fn boxes(source: &[u8], (start, end): Place) -> impl Iterator<Item = (&[u8; 4], Place)> {
    let mut at = start;
    let next = move || {
        let header = source.get(at..at.checked_add(8)?).filter(|_| at + 8 <= end)?;
        let (length, kind) = header.split_first_chunk::<4>()?;
        let (body, next) = match u32::from_be_bytes(*length) {
            0 => (at + 8, end),
            1 => {
                let long = source.get(at + 8..at + 16)?.first_chunk::<8>()?;
                (at + 16, at.checked_add(usize::try_from(u64::from_be_bytes(*long)).ok()?)?)
            }
            length => (at + 8, at.checked_add(length as usize)?),
        };
        if next < body || (next > end && end < source.len()) {
            return None;
        }
        at = next;
        Some((kind.first_chunk::<4>()?, (body, next)))
    };
    std::iter::from_fn(next).take(MAX_BOXES)
}

/// A box that is there as a whole.
fn within(source: &[u8], place: Place) -> Result<Place, Error> {
    if place.1 <= source.len() { Ok(place) } else { Err(corrupt("cut off")) }
}

/// Ids and kinds: `iinf` of `infe`.
fn infos(source: &[u8], place: Place, fields: &mut Fields<'_>) -> Result<Vec<(u32, [u8; 4])>, Error> {
    let header = if fields.version()? == 0 { 6 } else { 8 };
    let mut found = Vec::new();
    for (kind, place) in boxes(source, (place.0 + header, place.1)) {
        if kind == b"infe" {
            let mut fields = Fields::of(source, within(source, place)?);
            let version = fields.version()?;
            let id = fields.id(version >= 3)?;
            fields.number(2)?;
            found.push((id, (fields.number(4)? as u32).to_be_bytes()));
        }
    }
    Ok(found)
}

/// Ids, whether they lie in `idat`, and places. Items in several pieces, or in other files, are left out.
fn locations(fields: &mut Fields<'_>) -> Result<Vec<(u32, bool, Place)>, Error> {
    let version = fields.version()?;
    let sizes = fields.number(2)? as usize;
    let [offset, length, base, index] = [12, 8, 4, 0].map(|shift| sizes >> shift & 15);
    let index = if version >= 1 { index } else { 0 };
    let count = fields.number(if version < 2 { 2 } else { 4 })?;
    let (mut found, mut extents) = (Vec::new(), 0);
    for _ in 0..count {
        let id = fields.id(version >= 2)?;
        let method = if version >= 1 { fields.number(2)? & 15 } else { 0 };
        let elsewhere = fields.number(2)? != 0;
        let base = fields.number(base)?;
        let pieces = fields.number(2)?;
        extents += 1 + pieces as usize;
        if extents > MAX_ENTRIES {
            return Err(corrupt("too many pieces"));
        }
        for _ in 0..pieces {
            fields.number(index)?;
            let (offset, length) = (fields.number(offset)?, fields.number(length)?);
            let start = base.checked_add(offset).and_then(|start| usize::try_from(start).ok());
            let end = |start: usize| start.checked_add(usize::try_from(length).ok()?);
            // Without a length it would go on to the end, wherever that is; nobody writes that.
            if let Some((start, end)) = start.and_then(|start| Some((start, end(start)?)))
                && length > 0
                && pieces == 1
                && method <= 1
                && !elsewhere
            {
                found.push((id, method == 1, (start, end)));
            }
        }
    }
    Ok(found)
}

/// `iref` of boxes that each have one from and several to.
fn about(source: &[u8], place: Place, fields: &mut Fields<'_>) -> Result<Vec<(u32, [u8; 4], u32)>, Error> {
    let wide = fields.version()? >= 1;
    let mut found = Vec::new();
    for (kind, place) in boxes(source, (place.0 + 4, place.1)) {
        let mut fields = Fields::of(source, within(source, place)?);
        let from = fields.id(wide)?;
        for _ in 0..fields.number(2)? {
            found.push((from, *kind, fields.id(wide)?));
            if found.len() > MAX_ENTRIES {
                return Err(corrupt("too many references"));
            }
        }
    }
    Ok(found)
}

fn associated(fields: &mut Fields<'_>) -> Result<Vec<(u32, usize, bool)>, Error> {
    let head = fields.number(4)?;
    let (version, wide) = (head >> 24, head & 1 == 1);
    let mut found = Vec::new();
    for _ in 0..fields.number(4)? {
        let id = fields.id(version >= 1)?;
        for _ in 0..fields.number(1)? {
            let (bits, field) = if wide { (15, fields.number(2)?) } else { (7, fields.number(1)?) };
            found.push((id, (field & ((1 << bits) - 1)) as usize, field >> bits == 1));
        }
        bounded(found.len())?;
    }
    Ok(found)
}

/// Of all boxes together.
fn bounded(properties: usize) -> Result<(), Error> {
    if properties <= MAX_ENTRIES { Ok(()) } else { Err(corrupt("too many properties")) }
}

/// Big-endian numbers, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn of(source: &'a [u8], place: Place) -> Self {
        Self(source.get(place.0..place.1).unwrap_or_default())
    }

    /// Of `bytes` bytes; 0 bytes are 0.
    fn number(&mut self, bytes: usize) -> Result<u64, Error> {
        let (field, rest) = self.0.split_at_checked(bytes).ok_or_else(|| corrupt("a box cut off"))?;
        self.0 = rest;
        Ok(field.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn id(&mut self, wide: bool) -> Result<u32, Error> {
        Ok(self.number(if wide { 4 } else { 2 })? as u32)
    }

    /// Of a box that has one; flags are passed over.
    fn version(&mut self) -> Result<u64, Error> {
        Ok(self.number(4)? >> 24)
    }
}
