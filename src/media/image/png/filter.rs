//! Filters of rows, undone (PNG specification, third edition, clause 9).

mod paeth;

/// Undoes the filter `kind` of `row`, which has pixels of so many bytes. Nothing if there is no such filter.
pub(super) fn undo(kind: u8, channels: usize, above: &[u8], row: &mut [u8]) -> Option<()> {
    match channels {
        1 => undo_of::<1>(kind, above, row),
        2 => undo_of::<2>(kind, above, row),
        3 => undo_of::<3>(kind, above, row),
        _ => undo_of::<4>(kind, above, row),
    }
}

/// Undoes two rows at once, each led by the byte of its filter. Not if that is no faster.
pub(super) fn undo_two(channels: usize, above: &[u8], first: &mut [u8], second: &mut [u8]) -> bool {
    let ([PAETH, first @ ..], [PAETH, second @ ..]) = (first, second) else { return false };
    match channels {
        3 => paeth::undo_two::<3>(above, first, second),
        4 => paeth::undo_two::<4>(above, first, second),
        _ => false,
    }
}

const PAETH: u8 = 4;

fn undo_of<const C: usize>(kind: u8, above: &[u8], row: &mut [u8]) -> Option<()> {
    match kind {
        0 => {}
        1 => {
            let mut left = [0_u8; C];
            for pixel in row.as_chunks_mut::<C>().0 {
                for (sample, left) in pixel.iter_mut().zip(left) {
                    *sample = sample.wrapping_add(left);
                }
                left = *pixel;
            }
        }
        2 => {
            for (sample, above) in row.iter_mut().zip(above) {
                *sample = sample.wrapping_add(*above);
            }
        }
        3 => {
            let mut left = [0_u8; C];
            for (pixel, above) in row.as_chunks_mut::<C>().0.iter_mut().zip(above.as_chunks::<C>().0) {
                for ((sample, left), above) in pixel.iter_mut().zip(left).zip(above) {
                    *sample = sample.wrapping_add(left.midpoint(*above));
                }
                left = *pixel;
            }
        }
        PAETH => paeth::undo::<C>(above, row),
        _ => return None,
    }
    Some(())
}
