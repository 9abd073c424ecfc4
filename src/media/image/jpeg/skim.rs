//! The quick way to a strongly reduced JPEG: of a baseline image shrunk by 8 the DC coefficients are wanted, of one shrunk by 4 the first
//! few; the others are passed over several at a time (`huffman`), which is twice as fast as decoding them. Only for files without fault:
//! all else is None here, and left to libjpeg-turbo, which judges it.

use std::rc::Rc;

use super::super::super::checkpoint;
use super::super::error::Error;
use super::super::planes::Planes;
use super::super::probe::jpeg_segment;
use super::huffman::{AcCodes, Bits, Codes};

/// Below so many pixels the tables take longer than they save.
const MIN_PIXELS: usize = 60_000;

/// Where the wanted coefficients stand in zigzag order: the mean, and the slowest wave across, down, and both.
const WANTED: [usize; 4] = [0, 1, 2, 4];
/// How much of them the means of four by four pixels show, in 32nds: of a slow wave, the mean of a quarter period.
const SHOWN: [i32; 4] = [32, 29, 29, 26];

struct Component {
    /// Blocks of an MCU, across and down.
    blocks: (usize, usize),
    /// Of the wanted coefficients, times `SHOWN`.
    quantisers: [i32; 4],
    dc: Rc<Codes>,
    ac: Rc<AcCodes>,
    previous: i32,
    /// The reduced plane, and a row of MCUs of it with all that stands in them.
    size: (usize, usize),
    plane: Vec<u8>,
    row: Vec<u8>,
    stride: usize,
}

struct Frame {
    size: (usize, usize),
    components: Vec<Component>,
    /// MCUs across and down, and from one restart to the next; 0 for none.
    mcus: (usize, usize),
    restart: usize,
    /// Where the coded data begins.
    data: usize,
}

/// Numbers of codes of each length, and symbols.
type Table<'a> = (&'a [u8; 16], &'a [u8]);

/// The planes of an image in YCbCr, or grey, reduced by 4 or 8.
pub(super) fn planes(source: &[u8], shrink: usize) -> Result<Option<Planes>, Error> {
    if !matches!(shrink, 4 | 8) {
        return Ok(None);
    }
    let Some(mut frame) = Frame::read(source, shrink) else { return Ok(None) };
    let done = if shrink == 8 { frame.decode::<1>(source)? } else { frame.decode::<2>(source)? };
    Ok(done.map(|()| frame.into_planes(shrink)))
}

impl Frame {
    fn read(source: &[u8], shrink: usize) -> Option<Self> {
        let (mut quantisers, mut tables) = ([None; 4], [[None; 4]; 2]);
        let (mut header, mut restart) = (None, 0);
        let mut at = 2;
        let scan = loop {
            let (marker, body, next) = jpeg_segment(source, at)?;
            at = next;
            match marker {
                0xdb => read_quantisers(body, &mut quantisers)?,
                0xc4 => read_codes(body, &mut tables)?,
                0xdd => restart = usize::from(u16::from_be_bytes(body.try_into().ok()?)),
                // Baseline; of the extended mode what is like it.
                0xc0 | 0xc1 => header = Some(body),
                0xda => break body,
                0xe0..=0xef | 0xfe => {}
                _ => return None,
            }
        };
        let &[8, h1, h0, w1, w0, count, ref parts @ ..] = header? else { return None };
        let size = (usize::from(u16::from_be_bytes([w1, w0])), usize::from(u16::from_be_bytes([h1, h0])));
        if size.0 * size.1 < MIN_PIXELS || !matches!(count, 1 | 3) || parts.len() != usize::from(count) * 3 {
            return None;
        }
        let &[in_scan, ref rest @ ..] = scan else { return None };
        let (used, band) = rest.split_at_checked(usize::from(in_scan) * 2)?;
        if in_scan != count || band != [0, 63, 0] {
            return None;
        }
        let factors = |part: &[u8; 3]| (usize::from(part[1] >> 4), usize::from(part[1] & 15));
        let parts = parts.as_chunks::<3>().0;
        // Of one component each block is an MCU, whatever its factors (T.81 §A.2.2).
        let most = if count == 1 { (1, 1) } else { factors(&parts[0]) };
        let common = matches!(most, (1 | 2, 1 | 2)) && parts[1..].iter().all(|part| factors(part) == (1, 1));
        if !common {
            return None;
        }
        let mcus = (size.0.div_ceil(8 * most.0), size.1.div_ceil(8 * most.1));
        let [dc, ac] = tables.map(|tables| tables.map(|table| Codes::new(table?.0, table?.1)));
        let (dc, ac) =
            (dc.map(|codes| codes.map(Rc::new)), ac.map(|codes| Some(Rc::new(AcCodes::new(codes?)))));
        let components =
            parts.iter().zip(used.as_chunks::<2>().0).enumerate().map(|(number, (part, used))| {
                if part[0] != used[0] {
                    return None;
                }
                let blocks = if number == 0 { most } else { (1, 1) };
                let across = (size.0 * blocks.0).div_ceil(most.0).div_ceil(shrink);
                let down = (size.1 * blocks.1).div_ceil(most.1).div_ceil(shrink);
                let samples = 8 / shrink;
                let stride = mcus.0 * blocks.0 * samples;
                Some(Component {
                    blocks,
                    quantisers: quantisers.get(usize::from(part[2])).copied()??,
                    dc: dc.get(usize::from(used[1] >> 4))?.clone()?,
                    ac: ac.get(usize::from(used[1] & 15))?.clone()?,
                    previous: 0,
                    size: (across, down),
                    plane: Vec::with_capacity(across * down),
                    row: vec![0; stride * blocks.1 * samples],
                    stride,
                })
            });
        let components = components.collect::<Option<_>>()?;
        Some(Self { size, components, mcus, restart, data: at })
    }

    /// Each block becomes SIDE by SIDE samples.
    fn decode<const SIDE: usize>(&mut self, source: &[u8]) -> Result<Option<()>, Error> {
        let Some(data) = source.get(self.data..) else { return Ok(None) };
        let mut bits = Bits::new(data);
        let (mut until_restart, mut restarts) = (self.restart, 0_u8);
        for _ in 0..self.mcus.1 {
            checkpoint::pass()?;
            for mcu in 0..self.mcus.0 {
                if self.restart > 0 {
                    if until_restart == 0 {
                        if bits.pass_marker(0xd0 | restarts & 7).is_none() {
                            return Ok(None);
                        }
                        (until_restart, restarts) = (self.restart, restarts.wrapping_add(1));
                        self.components.iter_mut().for_each(|component| component.previous = 0);
                    }
                    until_restart -= 1;
                }
                for component in &mut self.components {
                    if component.mcu::<SIDE>(&mut bits, mcu).is_none() {
                        return Ok(None);
                    }
                }
                if !bits.is_sound() {
                    return Ok(None);
                }
            }
            self.components.iter_mut().for_each(Component::finish_row);
        }
        Ok(bits.pass_marker(0xd9))
    }

    fn into_planes(self, shrink: usize) -> Planes {
        let extent = (self.size.0 as f64 / shrink as f64, self.size.1 as f64 / shrink as f64);
        let mut components = self.components.into_iter();
        let (mut pixels, mut luma, mut sampling) = (Vec::new(), (0, 0), (1, 1));
        if let Some(first) = components.next() {
            (pixels, luma, sampling) = (first.plane, first.size, first.blocks);
        }
        let mut chroma = None;
        pixels.reserve_exact(components.as_slice().iter().map(|component| component.plane.len()).sum());
        for component in components {
            chroma = Some(component.size);
            pixels.extend(component.plane);
        }
        Planes::new(pixels, luma, chroma, sampling, extent)
    }
}

impl Component {
    #[inline(always)]
    fn mcu<const SIDE: usize>(&mut self, bits: &mut Bits<'_>, mcu: usize) -> Option<()> {
        for down in 0..self.blocks.1 {
            for across in 0..self.blocks.0 {
                let samples = self.block::<SIDE>(bits)?;
                let at = down * SIDE * self.stride + (mcu * self.blocks.0 + across) * SIDE;
                for (number, samples) in samples.iter().enumerate() {
                    let at = at + number * self.stride;
                    self.row.get_mut(at..at + SIDE)?.copy_from_slice(samples);
                }
            }
        }
        Some(())
    }

    #[inline(always)]
    fn block<const SIDE: usize>(&mut self, bits: &mut Bits<'_>) -> Option<[[u8; SIDE]; SIDE]> {
        let size = bits.symbol(&self.dc)?;
        if size > 11 {
            return None;
        }
        // As in libjpeg, whose coefficients have 16 bits.
        self.previous = i32::from(self.previous.wrapping_add(bits.value(size)) as i16);
        let mut wanted = [self.previous * self.quantisers[0], 0, 0, 0];
        if SIDE == 1 {
            bits.skim(&self.ac, 1)?;
        } else {
            self.first_waves(bits, &mut wanted)?;
        }
        Some(shown(wanted))
    }

    /// The wanted coefficients behind the first; then on to the block's end.
    #[inline(always)]
    fn first_waves(&self, bits: &mut Bits<'_>, wanted: &mut [i32; 4]) -> Option<()> {
        let mut next = 1;
        while next <= WANTED[3] {
            let symbol = bits.symbol(&self.ac.codes)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            if size == 0 {
                if run < 15 {
                    return Some(());
                }
                next += 16;
                continue;
            }
            next += run;
            let value = bits.value(size);
            match next {
                1 => wanted[1] = value * self.quantisers[1],
                2 => wanted[2] = value * self.quantisers[2],
                4 => wanted[3] = value * self.quantisers[3],
                _ => {}
            }
            next += 1;
        }
        bits.skim(&self.ac, next as u32)
    }

    fn finish_row(&mut self) {
        for row in self.row.chunks_exact(self.stride) {
            if self.plane.len() < self.size.0 * self.size.1 {
                self.plane.extend_from_slice(&row[..self.size.0]);
            }
        }
    }
}

/// The inverse transform (T.81 §A.3.3), reduced: of one sample the mean, of two sums and differences. In 32nds of an eighth.
#[inline(always)]
fn shown<const SIDE: usize>([mean, across, down, both]: [i32; 4]) -> [[u8; SIDE]; SIDE] {
    std::array::from_fn(|y| {
        std::array::from_fn(|x| {
            let across = if x == 0 { across } else { -across };
            let down = if y == 0 { down } else { -down };
            let both = if x == y { both } else { -both };
            let sum = if SIDE == 1 { mean } else { mean + across + down + both };
            (((sum + 128) >> 8) + 128).clamp(0, 255) as u8
        })
    })
}

/// T.81 §B.2.4.1.
fn read_quantisers(mut body: &[u8], to: &mut [Option<[i32; 4]>; 4]) -> Option<()> {
    while let Some((&kind, rest)) = body.split_first() {
        // Of 16 bits: rare.
        let (table, rest) = rest.split_at_checked(64)?;
        *to.get_mut(usize::from(kind))? =
            Some(std::array::from_fn(|at| i32::from(table[WANTED[at]]) * SHOWN[at]));
        body = rest;
    }
    Some(())
}

/// T.81 §B.2.4.2: those of DC, and of AC.
fn read_codes<'a>(mut body: &'a [u8], to: &mut [[Option<Table<'a>>; 4]; 2]) -> Option<()> {
    while let Some((&kind, rest)) = body.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let (symbols, rest) = rest.split_at_checked(counts.iter().map(|count| usize::from(*count)).sum())?;
        // Sizes of DC have four bits.
        if kind >> 4 == 0 && symbols.iter().any(|size| *size > 15) {
            return None;
        }
        *to.get_mut(usize::from(kind >> 4))?.get_mut(usize::from(kind & 15))? = Some((counts, symbols));
        body = rest;
    }
    Some(())
}
