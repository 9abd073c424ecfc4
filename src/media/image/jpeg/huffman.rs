//! Huffman codes of sequential JPEG (ITU T.81 Annex C, F.2.2) for who wants the first coefficients of each block and passes over the
//! rest: of these only the length counts, so that one look into a table takes several at once.

/// Bits that one look for what is passed over takes in.
const SKIM_BITS: u32 = 12;
/// Codes of up to so many bits are found with one look.
const LOOK_BITS: u32 = 9;
/// Looks between two refills, which leave at least 56 bits.
const LOOKS: usize = 4;

/// A table of codes: symbols by their code (T.81 §C.2).
#[derive(Debug, Clone)]
pub(super) struct Codes {
    /// By the next `LOOK_BITS`: length and symbol; 0 for longer codes.
    look: Box<[u16; 1 << LOOK_BITS]>,
    /// For each length the first of 16 bits that are beyond its codes, and what is added to a code to find its symbol.
    ends: [u32; 17],
    places: [i32; 17],
    symbols: [u8; 256],
}

/// Codes of AC coefficients, with what of several may be passed over at once.
#[derive(Debug, Clone)]
pub(super) struct AcCodes {
    pub(super) codes: Codes,
    skim: Box<[Skim; 1 << SKIM_BITS]>,
}

/// Whole symbols with their values: bits, coefficients, and whether the block ends with them. All 0 if none is whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Skim {
    bits: u8,
    /// Coefficients, and `END`.
    advance: u8,
}

const END: u8 = 0x80;

impl Codes {
    /// From a segment's table (T.81 §B.2.4.2): numbers of codes of each length, and symbols. None if it is no prefix code.
    pub(super) fn new(counts: &[u8; 16], values: &[u8]) -> Option<Self> {
        let mut codes =
            Self { look: Box::new([0; 1 << LOOK_BITS]), ends: [0; 17], places: [0; 17], symbols: [0; 256] };
        codes.symbols.get_mut(..values.len())?.copy_from_slice(values);
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, count) in (1_u32..).zip(counts) {
            codes.places[length as usize] = place as i32 - code as i32;
            for _ in 0..*count {
                let symbol = *values.get(place)?;
                if length <= LOOK_BITS {
                    let (first, next) = (code << (LOOK_BITS - length), (code + 1) << (LOOK_BITS - length));
                    codes
                        .look
                        .get_mut(first as usize..next as usize)?
                        .fill((length as u16) << 8 | u16::from(symbol));
                }
                (code, place) = (code + 1, place + 1);
            }
            // None is all ones.
            if code >= 1 << length {
                return None;
            }
            codes.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        (place == values.len()).then_some(codes)
    }

    /// Length and symbol of the code that these 16 bits begin with.
    #[inline(always)]
    fn find(&self, bits: u32) -> Option<(u32, u8)> {
        match self.look[(bits >> (16 - LOOK_BITS)) as usize & ((1 << LOOK_BITS) - 1)] {
            0 => self.find_long(bits),
            found => Some((u32::from(found >> 8), found as u8)),
        }
    }

    #[cold]
    fn find_long(&self, bits: u32) -> Option<(u32, u8)> {
        let length = (LOOK_BITS + 1..=16).find(|length| bits < self.ends[*length as usize])?;
        let place = (bits >> (16 - length)) as i32 + self.places[length as usize];
        Some((length, *self.symbols.get(usize::try_from(place).ok()?)?))
    }
}

impl AcCodes {
    pub(super) fn new(codes: Codes) -> Self {
        let single = |index: usize| {
            let bits = (index as u32) << (16 - SKIM_BITS);
            let (length, symbol) = codes.find(bits)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            let advance = match (run, size) {
                (15, 0) => 16,
                (_, 0) => END,
                (run, _) => run + 1,
            };
            let bits = length + u32::from(size);
            (bits <= SKIM_BITS).then_some(Skim { bits: bits as u8, advance })
        };
        let singles: Vec<Skim> = (0..1 << SKIM_BITS).map(|index| single(index).unwrap_or_default()).collect();
        let mut skim = Box::new([Skim::default(); 1 << SKIM_BITS]);
        for (index, several) in skim.iter_mut().enumerate() {
            // Behind the bits of `index` come zeros, which are not taken for codes since they are not counted.
            while several.advance & END == 0 {
                let next = singles[index << several.bits & ((1 << SKIM_BITS) - 1)];
                let (bits, advance) = (several.bits + next.bits, several.advance + next.advance);
                if next.bits == 0 || u32::from(bits) > SKIM_BITS || advance & !END >= 64 {
                    break;
                }
                *several = Skim { bits, advance };
            }
        }
        Self { codes, skim }
    }
}

/// Entropy-coded data, bit by bit, up to a marker. Beyond it come zeros, and `is_sound` tells.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, the first on top. What is below those that count is either 0 or what comes next.
    buffer: u64,
    left: i32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, buffer: 0, left: 0 }
    }

    /// Whether all bits that were taken were there.
    pub(super) fn is_sound(&self) -> bool {
        self.left >= 0
    }

    /// 56 bits or more, if there are.
    #[inline(always)]
    fn refill(&mut self) {
        if let Some(word) =
            self.data.get(self.at..).and_then(<[u8]>::first_chunk).map(|word| u64::from_be_bytes(*word))
            && !has_ff(word)
            && self.left >= 0
        {
            self.buffer |= word >> self.left;
            let bytes = (63 - self.left) >> 3;
            self.at += bytes as usize;
            self.left += bytes << 3;
        } else {
            self.refill_slowly();
        }
    }

    /// Byte by byte, without those that keep markers apart (T.81 §B.1.1.5).
    #[cold]
    fn refill_slowly(&mut self) {
        while (0..56).contains(&self.left) {
            let taken = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0)) => 2,
                (Some(0xff) | None, _) => return,
                (Some(_), _) => 1,
            };
            self.buffer |= u64::from(self.data[self.at]) << (56 - self.left);
            self.at += taken;
            self.left += 8;
        }
    }

    #[inline(always)]
    fn take(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.left -= bits as i32;
    }

    /// The next symbol. Leaves at least 40 bits behind it.
    #[inline(always)]
    pub(super) fn symbol(&mut self, codes: &Codes) -> Option<u8> {
        self.refill();
        let (length, symbol) = codes.find((self.buffer >> 48) as u32)?;
        self.take(length);
        Some(symbol)
    }

    /// A coefficient of so many bits, at most 15 (T.81 §F.2.2.1, EXTEND).
    #[inline(always)]
    pub(super) fn value(&mut self, size: u8) -> i32 {
        let size = u32::from(size & 15);
        // In two steps, since none of 64 bits may be shifted by 64.
        let bits = (self.buffer >> 1 >> (63 - size)) as i32;
        let negative = (self.buffer >> 63) == 0 && size > 0;
        self.take(size);
        if negative { bits - (1 << size) + 1 } else { bits }
    }

    /// Passes over a block's coefficients from `next` on. None if there are too many.
    #[inline(always)]
    pub(super) fn skim(&mut self, ac: &AcCodes, mut next: u32) -> Option<()> {
        while next < 64 {
            self.refill();
            for _ in 0..LOOKS {
                let several = ac.skim[(self.buffer >> (64 - SKIM_BITS)) as usize];
                let after = next + u32::from(several.advance & !END);
                if several.bits == 0 || after >= 64 {
                    break;
                }
                self.take(several.bits.into());
                if several.advance & END != 0 {
                    return Some(());
                }
                next = after;
            }
            // One that is long, or the block's last.
            let symbol = self.symbol(&ac.codes)?;
            match (symbol >> 4, symbol & 15) {
                (15, 0) => next += 16,
                (_, 0) => return Some(()),
                (run, size) => {
                    self.take(size.into());
                    next += u32::from(run) + 1;
                }
            }
        }
        (next == 64).then_some(())
    }

    /// Goes on behind this marker, which has to be what comes next but for bits that fill a byte.
    pub(super) fn pass_marker(&mut self, marker: u8) -> Option<()> {
        self.refill_slowly();
        let found = self.data.get(self.at..)?.starts_with(&[0xff, marker]);
        if !found || !(0..8).contains(&self.left) {
            return None;
        }
        *self = Self { data: self.data, at: self.at + 2, buffer: 0, left: 0 };
        Some(())
    }
}

/// Whether one of eight bytes is 0xff.
#[inline(always)]
fn has_ff(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let zeros = !word;
    zeros.wrapping_sub(ONES) & !zeros & (ONES << 7) != 0
}
