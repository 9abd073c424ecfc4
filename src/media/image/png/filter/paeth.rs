//! The Paeth filter, undone. A pixel waits for the one on its left, so a row alone leaves most of a processor idle: two rows are
//! done together, the second one pixel behind the first, as one vector.
//!
//! The predictor picks of left (a), above (b) and their corner (c) what is nearest to a + b - c: the lesser of a and b if c is no
//! less than the greater, the greater if c is no greater than the lesser, else c or one of them; `3c - (a + b)` beside both
//! tells which, without distances.

pub(super) fn undo<const C: usize>(above: &[u8], row: &mut [u8]) {
    let (mut left, mut corner) = ([0_i16; C], [0_i16; C]);
    for (pixel, above) in row.as_chunks_mut::<C>().0.iter_mut().zip(above.as_chunks::<C>().0) {
        let above = above.map(i16::from);
        for lane in 0..C {
            let (a, b, c) = (left[lane], above[lane], corner[lane]);
            let (least, most, edge) = (a.min(b), a.max(b), 3 * c - (a + b));
            let low = if most > edge { c } else { least };
            let near = if edge > least { low } else { most };
            pixel[lane] = pixel[lane].wrapping_add(near as u8);
            left[lane] = i16::from(pixel[lane]);
        }
        corner = above;
    }
}

/// Two rows below `above`. Not where there are no such vectors.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn undo_two<const C: usize>(_above: &[u8], _first: &mut [u8], _second: &mut [u8]) -> bool {
    false
}

/// Two rows below `above`.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(super) fn undo_two<const C: usize>(above: &[u8], first: &mut [u8], second: &mut [u8]) -> bool {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { sse2::undo_two::<C>(above, first, second) }
    true
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_add_epi16, _mm_and_si128, _mm_andnot_si128, _mm_cmpgt_epi16,
        _mm_cvtsi32_si128, _mm_cvtsi128_si64, _mm_max_epi16, _mm_min_epi16, _mm_or_si128, _mm_packus_epi16,
        _mm_setzero_si128, _mm_sub_epi16, _mm_unpacklo_epi8, _mm_unpacklo_epi64,
    };

    /// Of the eight lanes of 16 bits four are the first row's pixel, four the second's one to the left.
    #[target_feature(enable = "sse2")]
    pub(super) fn undo_two<const C: usize>(above: &[u8], first: &mut [u8], second: &mut [u8]) {
        let mut left = _mm_setzero_si128();
        let mut corner = _mm_setzero_si128();
        let mut held: Option<&mut [u8; C]> = None;
        let firsts = first.as_chunks_mut::<C>().0.iter_mut();
        for ((upper, above), lower) in firsts.zip(above.as_chunks::<C>().0).zip(second.as_chunks_mut::<C>().0)
        {
            let behind = held.as_deref().map_or_else(|| _mm_setzero_si128(), |pixel| load(pixel));
            let over = _mm_unpacklo_epi64(load(above), left);
            left = step(_mm_unpacklo_epi64(load(upper), behind), left, over, corner);
            corner = over;
            let [first, second] = store::<C>(left);
            *upper = first;
            if let Some(pixel) = held {
                *pixel = second;
            }
            held = Some(lower);
        }
        if let Some(pixel) = held {
            let over = _mm_unpacklo_epi64(_mm_setzero_si128(), left);
            let last = step(_mm_unpacklo_epi64(_mm_setzero_si128(), load(pixel)), left, over, corner);
            *pixel = store::<C>(last)[1];
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn step(filtered: __m128i, a: __m128i, b: __m128i, c: __m128i) -> __m128i {
        let (least, most) = (_mm_min_epi16(a, b), _mm_max_epi16(a, b));
        let edge = _mm_sub_epi16(_mm_add_epi16(c, _mm_add_epi16(c, c)), _mm_add_epi16(a, b));
        let low = choose(_mm_cmpgt_epi16(most, edge), c, least);
        let near = choose(_mm_cmpgt_epi16(edge, least), low, most);
        _mm_add_epi8(filtered, near)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn choose(mask: __m128i, yes: __m128i, no: __m128i) -> __m128i {
        _mm_or_si128(_mm_and_si128(mask, yes), _mm_andnot_si128(mask, no))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load<const C: usize>(pixel: &[u8; C]) -> __m128i {
        let mut bytes = [0; 4];
        bytes[..C].copy_from_slice(pixel);
        _mm_unpacklo_epi8(_mm_cvtsi32_si128(i32::from_le_bytes(bytes)), _mm_setzero_si128())
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn store<const C: usize>(pixels: __m128i) -> [[u8; C]; 2] {
        let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(pixels, pixels)).to_le_bytes();
        [std::array::from_fn(|lane| bytes[lane]), std::array::from_fn(|lane| bytes[4 + lane])]
    }
}
