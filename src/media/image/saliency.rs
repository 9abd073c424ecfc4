//! What a picture shows, as far as cropping and trimming ask: where the most is going on, where the eye goes first, and
//! where an even border ends.

use super::geometry::{Rect, Size};
use super::params::Gravity;
use super::raster::Raster;

/// Cells of the grid that is searched, along the longer side.
const CELLS: u32 = 64;

/// Moves `crop` within `within` to where the picture is worth most; both in pixels of the raster. Along the axis on which
/// there is room, that is: a crop has one side of the area.
pub(super) fn place(raster: &Raster, within: Rect, crop: Rect, gravity: Gravity) -> Rect {
    let grid = Grid::of(raster, within, gravity);
    let across = within.width - crop.width > within.height - crop.height;
    let (room, part, side, values) = if across {
        (within.width - crop.width, crop.width, within.width, grid.columns())
    } else {
        (within.height - crop.height, crop.height, within.height, grid.rows())
    };
    let distance = best_window(&values, part / side) * side;
    let distance = distance.clamp(0.0, room.max(0.0));
    if across {
        Rect { left: within.left + distance, ..crop }
    } else {
        Rect { top: within.top + distance, ..crop }
    }
}

/// Start of the window of this share of all values that holds the most; of equals, which noise does not make unequal, the one
/// in their middle.
fn best_window(values: &[f64], share: f64) -> f64 {
    let count = values.len();
    let window = ((count as f64 * share).round() as usize).clamp(1, count);
    let sums: Vec<f64> = values.windows(window).map(|values| values.iter().sum()).collect();
    let most = sums.iter().copied().fold(0.0, f64::max);
    let good = |sum: &f64| *sum >= most * 0.999;
    let first = sums.iter().position(good).unwrap_or(0);
    let run = sums[first..].iter().take_while(|sum| good(sum)).count();
    (first as f64 + run.saturating_sub(1) as f64 / 2.0) / count as f64
}

/// Worth of each cell.
struct Grid {
    width: usize,
    height: usize,
    cells: Vec<f64>,
}

impl Grid {
    fn of(raster: &Raster, within: Rect, gravity: Gravity) -> Self {
        let left = (within.left.max(0.0) as u32).min(raster.size.width - 1);
        let top = (within.top.max(0.0) as u32).min(raster.size.height - 1);
        let width = (within.width.round() as u32).clamp(1, raster.size.width - left);
        let height = (within.height.round() as u32).clamp(1, raster.size.height - top);
        let cell = width.max(height).div_ceil(CELLS).max(1);
        let (across, down) = (width.div_ceil(cell), height.div_ceil(cell));
        let worth = |column: u32, row: u32| {
            let (x, y) = (left + column * cell, top + row * cell);
            let size = Size::new(cell.min(left + width - x), cell.min(top + height - y));
            match gravity {
                Gravity::Attention => attention(raster, x, y, size),
                _ => entropy(raster, x, y, size),
            }
        };
        let cells = (0..down).flat_map(|row| (0..across).map(move |column| (column, row)));
        let cells = cells.map(|(column, row)| worth(column, row)).collect();
        Self { width: across as usize, height: down as usize, cells }
    }

    fn columns(&self) -> Vec<f64> {
        (0..self.width).map(|x| self.cells.iter().skip(x).step_by(self.width).sum()).collect()
    }

    fn rows(&self) -> Vec<f64> {
        debug_assert_eq!(self.cells.len(), self.width * self.height);
        self.cells.chunks(self.width).map(|row| row.iter().sum()).collect()
    }
}

/// Shannon's, in bits, of the brightness in 32 steps, times the pixels: a cell at the edge is smaller.
fn entropy(raster: &Raster, x: u32, y: u32, size: Size) -> f64 {
    let mut counts = [0_u32; 32];
    each(raster, x, y, size, |pixel| counts[usize::from(brightness(pixel) >> 3)] += 1);
    let total = size.pixels() as f64;
    let bits = counts.iter().filter(|count| **count > 0).map(|count| {
        let share = f64::from(*count) / total;
        -share * share.log2()
    });
    bits.sum::<f64>() * total
}

/// Colourfulness, the tones of skin, and changes from pixel to pixel.
fn attention(raster: &Raster, x: u32, y: u32, size: Size) -> f64 {
    let (mut worth, mut before) = (0.0, None);
    each(raster, x, y, size, |pixel| {
        let here = brightness(pixel);
        let change = before.map_or(0, |before: u8| before.abs_diff(here));
        before = Some(here);
        worth += f64::from(change);
        if let [r, g, b, ..] = *pixel {
            let (most, least) = (r.max(g).max(b), r.min(g).min(b));
            // Very dark and very bright pixels have no colour worth looking at.
            if (32..=240).contains(&here) {
                worth += f64::from(most - least) * 0.25;
                let skin = r > g && g > b && (20..=120).contains(&(r - g)) && r > 90;
                worth += if skin { 40.0 } else { 0.0 };
            }
        }
    });
    worth
}

fn each(raster: &Raster, x: u32, y: u32, size: Size, mut see: impl FnMut(&[u8])) {
    let channels = raster.channels;
    for row in y..y + size.height {
        let start = row as usize * raster.stride() + x as usize * channels;
        raster.data[start..start + size.width as usize * channels].chunks_exact(channels).for_each(&mut see);
    }
}

/// Of what is seen: transparent pixels are black.
fn brightness(pixel: &[u8]) -> u8 {
    match *pixel {
        [r, g, b] => ((u16::from(r) * 2 + u16::from(g) * 5 + u16::from(b)) / 8) as u8,
        [r, g, b, a] => {
            let grey = (u32::from(r) * 2 + u32::from(g) * 5 + u32::from(b)) / 8;
            (grey * u32::from(a) / 255) as u8
        }
        [grey, ..] => grey,
        [] => 0,
    }
}

/// What is left of `within` when the border is cut off that differs from the top left pixel by no more than `tolerance`
/// percent in any channel. All of it when nothing would be left.
pub(super) fn without_border(raster: &Raster, within: Rect, tolerance: u8) -> Rect {
    let left = (within.left.round() as u32).min(raster.size.width - 1);
    let top = (within.top.round() as u32).min(raster.size.height - 1);
    let right = ((within.left + within.width).round() as u32).clamp(left + 1, raster.size.width);
    let bottom = ((within.top + within.height).round() as u32).clamp(top + 1, raster.size.height);
    let channels = raster.channels;
    let pixel = |x: u32, y: u32| {
        let start = y as usize * raster.stride() + x as usize * channels;
        &raster.data[start..start + channels]
    };
    let allowed = (u16::from(tolerance) * 255 / 100) as u8;
    let corner = pixel(left, top);
    let is_border = |x: u32, y: u32| {
        let here = pixel(x, y);
        // All that is transparent looks alike.
        let both_transparent = channels == 4 && here[3] == 0 && corner[3] == 0;
        both_transparent || here.iter().zip(corner).all(|(a, b)| a.abs_diff(*b) <= allowed)
    };
    let row_is_border = |y: u32| (left..right).all(|x| is_border(x, y));
    let Some(first_row) = (top..bottom).find(|y| !row_is_border(*y)) else { return within };
    let last_row = (first_row..bottom).rev().find(|y| !row_is_border(*y)).unwrap_or(first_row);
    let column_is_border = |x: u32| (first_row..=last_row).all(|y| is_border(x, y));
    let first_column = (left..right).find(|x| !column_is_border(*x)).unwrap_or(left);
    let last_column = (first_column..right).rev().find(|x| !column_is_border(*x)).unwrap_or(right - 1);
    Rect {
        left: first_column.into(),
        top: first_row.into(),
        width: f64::from(last_column - first_column + 1),
        height: f64::from(last_row - first_row + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Even grey with something at these pixels.
    fn picture(size: Size, painted: Rect, paint: impl Fn(u32, u32) -> [u8; 3]) -> Raster {
        let mut raster = Raster { size, channels: 3, data: vec![200; size.pixels() as usize * 3] };
        for y in painted.top as u32..(painted.top + painted.height) as u32 {
            for x in painted.left as u32..(painted.left + painted.width) as u32 {
                let start = (y * size.width + x) as usize * 3;
                raster.data[start..start + 3].copy_from_slice(&paint(x, y));
            }
        }
        raster
    }

    fn noise(x: u32, y: u32) -> [u8; 3] {
        let mixed = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(2_246_822_519)).rotate_left(7) >> 3;
        [mixed as u8; 3]
    }

    #[test]
    fn crops_go_where_something_is() {
        for (size, (left, top), (width, height)) in [
            (Size::new(300, 100), (220.0, 20.0), (100.0, 100.0)),
            (Size::new(300, 100), (10.0, 20.0), (100.0, 100.0)),
            (Size::new(80, 400), (10.0, 300.0), (80.0, 80.0)),
        ] {
            let painted = Rect { left, top, width: 50.0, height: 50.0 };
            let crop = Rect { left: 0.0, top: 0.0, width, height };
            for (gravity, raster) in [
                (Gravity::Entropy, picture(size, painted, noise)),
                (Gravity::Attention, picture(size, painted, |_, _| [210, 150, 120])),
            ] {
                let placed = place(&raster, Rect::whole(size), crop, gravity);
                let shows = |start: f64, side: f64, from: f64| start <= from && start + side >= from + 50.0;
                assert!(shows(placed.left, width, left), "{gravity:?} {placed:?}");
                assert!(shows(placed.top, height, top), "{gravity:?} {placed:?}");
                assert_eq!((placed.width, placed.height), (width, height));
            }
        }
    }

    #[test]
    fn where_nothing_is_the_middle_stays() {
        let even = picture(Size::new(300, 100), Rect::whole(Size::new(0, 0)), noise);
        let crop = Rect { left: 0.0, top: 0.0, width: 100.0, height: 100.0 };
        for gravity in [Gravity::Entropy, Gravity::Attention] {
            let placed = place(&even, Rect::whole(even.size), crop, gravity);
            assert!((95.0..=105.0).contains(&placed.left), "{gravity:?} {placed:?}");
        }
    }

    #[test]
    fn even_borders_are_found() {
        let size = Size::new(50, 40);
        let inner = Rect { left: 7.0, top: 5.0, width: 20.0, height: 30.0 };
        let raster = picture(size, inner, |_, _| [0; 3]);
        assert_eq!(without_border(&raster, Rect::whole(size), 10), inner);
        // Within the tolerance.
        let faint = picture(size, inner, |_, _| [190; 3]);
        assert_eq!(without_border(&faint, Rect::whole(size), 10), Rect::whole(size));
        assert_eq!(without_border(&faint, Rect::whole(size), 1), inner);
        let part = Rect { left: 10.0, top: 0.0, width: 40.0, height: 40.0 };
        assert_eq!(without_border(&raster, part, 10), Rect { left: 10.0, width: 17.0, ..inner });
    }
}
