//! The few colours that make up a picture: the fullest cells of the colour cube, none like another.

use super::raster::Raster;

/// Cells along each side of the cube, by the highest bits of a sample.
const BITS: u32 = 4;

/// Squared distance within which colours are told of as one.
const ALIKE: i32 = 40 * 40;

#[derive(Clone, Copy, Default)]
struct Cell {
    count: u32,
    sum: [u32; 3],
}

/// At most so many, each with its share of the visible pixels, the fullest first.
pub(super) fn colours(raster: &Raster, most: usize) -> Vec<([u8; 3], f64)> {
    let mut cells = vec![Cell::default(); 1 << (3 * BITS)];
    let mut total = 0_u32;
    for pixel in raster.data.chunks_exact(raster.channels) {
        let &[r, g, b, ref alpha @ ..] = pixel else { continue };
        if alpha.first().is_some_and(|alpha| *alpha < 128) {
            continue;
        }
        let place = [r, g, b].iter().fold(0, |place, v| place << BITS | usize::from(v >> (8 - BITS)));
        cells[place].count += 1;
        for (sum, v) in cells[place].sum.iter_mut().zip([r, g, b]) {
            *sum += u32::from(v);
        }
        total += 1;
    }
    let mut full: Vec<_> = cells.into_iter().filter(|cell| cell.count > 0).collect();
    full.sort_by_key(|cell| std::cmp::Reverse(cell.count));
    let mut chosen: Vec<([u8; 3], u32)> = Vec::new();
    for Cell { count, sum } in full {
        let colour = sum.map(|sum| (sum / count) as u8);
        let like = |other: &[u8; 3]| {
            let squares = colour.iter().zip(other).map(|(a, b)| (i32::from(*a) - i32::from(*b)).pow(2));
            squares.sum::<i32>() < ALIKE
        };
        match chosen.iter().position(|(other, _)| like(other)) {
            Some(place) => chosen[place].1 += count,
            None if chosen.len() < most => chosen.push((colour, count)),
            None => {}
        }
    }
    chosen.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    chosen.into_iter().map(|(colour, count)| (colour, f64::from(count) / f64::from(total.max(1)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::image::geometry::Size;

    #[test]
    fn the_fullest_come_first_and_like_ones_are_one() {
        let mut data = [[200, 10, 10]; 50].concat();
        data.extend([[10, 10, 200]; 30].concat());
        data.extend([[205, 14, 12]; 20].concat());
        let raster = Raster { size: Size::new(100, 1), channels: 3, data };
        let found = colours(&raster, 4);
        assert_eq!(found.len(), 2);
        assert!(found[0].0[0] > 190 && (found[0].1 - 0.7).abs() < 1e-9, "{found:?}");
        assert_eq!(found[1], ([10, 10, 200], 0.3));
    }

    #[test]
    fn what_is_not_seen_does_not_count() {
        let raster = Raster { size: Size::new(2, 1), channels: 4, data: vec![9, 9, 9, 255, 250, 0, 0, 0] };
        assert_eq!(colours(&raster, 4), [([9, 9, 9], 1.0)]);
        let nothing = Raster { size: Size::new(1, 1), channels: 4, data: vec![0; 4] };
        assert_eq!(colours(&nothing, 4), []);
    }
}
