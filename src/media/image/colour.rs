//! Colour profiles (ICC.1): what a source's numbers mean, and the way from there to sRGB, which browsers take for granted. A
//! profile that makes no sense is none, as in browsers.

use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, TransformExecutor, TransformOptions};

use super::raster::Raster;

type Transform = Arc<dyn TransformExecutor<u8> + Send + Sync>;

/// Profiles are some kilobytes; those of printers up to three megabytes.
const MAX_BYTES: usize = 8 << 20;

/// By how much colours that come out may differ from those that go in, where the profile is as good as sRGB.
const UNSEEN: u8 = 2;

/// A way from a source's colours to sRGB.
pub(super) enum Profile {
    Colour(ColorProfile),
    Grey(ColorProfile),
    Ink(ColorProfile),
}

impl Profile {
    /// `None` where nothing is to be changed: the profile is that of sRGB, or nonsense.
    pub(super) fn read(icc: &[u8]) -> Option<Self> {
        if icc.len() > MAX_BYTES {
            return None;
        }
        let profile = ColorProfile::new_from_slice(icc).ok()?;
        match profile.color_space {
            DataColorSpace::Rgb => {
                let changes = changes(&*transform(&profile, Layout::Rgb)?);
                changes.then_some(Self::Colour(profile))
            }
            DataColorSpace::Gray => Some(Self::Grey(profile)),
            DataColorSpace::Cmyk => Some(Self::Ink(profile)),
            _ => None,
        }
    }

    pub(super) fn is_ink(&self) -> bool {
        matches!(self, Self::Ink(_))
    }

    /// Changes the colours of a raster that has three or four samples per pixel; of ink, nothing: see `ink_to_srgb`.
    pub(super) fn to_srgb(&self, raster: &mut Raster) {
        let changed = match self {
            Self::Colour(profile) => {
                let layout = if raster.channels == 4 { Layout::Rgba } else { Layout::Rgb };
                let out = transform(profile, layout).and_then(|transform| {
                    let mut out = vec![0; raster.data.len()];
                    transform.transform(&raster.data, &mut out).ok()?;
                    Some(out)
                });
                // Alpha is alpha.
                out.map(|mut out| {
                    if raster.channels == 4 {
                        for (to, from) in
                            out.as_chunks_mut::<4>().0.iter_mut().zip(raster.data.as_chunks::<4>().0)
                        {
                            to[3] = from[3];
                        }
                    }
                    out
                })
            }
            Self::Grey(profile) => grey_tones(profile).map(|tones| {
                let mut out = std::mem::take(&mut raster.data);
                for pixel in out.chunks_exact_mut(raster.channels) {
                    for sample in &mut pixel[..3] {
                        *sample = tones[usize::from(*sample)];
                    }
                }
                out
            }),
            Self::Ink(_) => None,
        };
        if let Some(changed) = changed {
            raster.data = changed;
        }
    }

    /// Four samples of ink per pixel, 255 being most, to three of light. `None` where the profile has no way.
    pub(super) fn ink_to_srgb(&self, ink: &Raster) -> Option<Raster> {
        let Self::Ink(profile) = self else { return None };
        let transform = transform(profile, Layout::Rgba)?;
        let mut out = Raster::new(ink.size, 3);
        transform.transform(&ink.data, &mut out.data).ok()?;
        Some(out)
    }
}

fn transform(profile: &ColorProfile, from: Layout) -> Option<Transform> {
    let to = if from == Layout::Rgba && profile.color_space != DataColorSpace::Cmyk {
        Layout::Rgba
    } else {
        Layout::Rgb
    };
    profile.create_transform_8bit(from, &ColorProfile::new_srgb(), to, TransformOptions::default()).ok()
}

/// Whether colours all over the cube come out different.
fn changes(transform: &dyn TransformExecutor<u8>) -> bool {
    const STEPS: [u8; 6] = [0, 51, 102, 153, 204, 255];
    let mut cube = Vec::with_capacity(STEPS.len().pow(3) * 3);
    for r in STEPS {
        for g in STEPS {
            for b in STEPS {
                cube.extend([r, g, b]);
            }
        }
    }
    let mut out = vec![0; cube.len()];
    let done = transform.transform(&cube, &mut out).is_ok();
    done && cube.iter().zip(&out).any(|(from, to)| from.abs_diff(*to) > UNSEEN)
}

fn grey_tones(profile: &ColorProfile) -> Option<[u8; 256]> {
    let options = TransformOptions::default();
    let transform =
        profile.create_transform_8bit(Layout::Gray, &ColorProfile::new_srgb(), Layout::Rgb, options).ok()?;
    let grey: [u8; 256] = std::array::from_fn(|value| value as u8);
    let mut out = [0; 768];
    transform.transform(&grey, &mut out).ok()?;
    Some(std::array::from_fn(|value| out[value * 3]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::image::geometry::Size;

    #[test]
    fn srgb_and_nonsense_change_nothing() {
        let srgb = ColorProfile::new_srgb().encode().unwrap();
        assert!(Profile::read(&srgb).is_none());
        for nonsense in [&b""[..], b"ICC", &[0; 128], &[0xff; 4096], &srgb[..200]] {
            assert!(Profile::read(nonsense).is_none(), "{} bytes", nonsense.len());
        }
    }

    #[test]
    fn wider_colours_come_into_srgb() {
        let p3 = ColorProfile::new_display_p3().encode().unwrap();
        let profile = Profile::read(&p3).unwrap();
        // A red of Display P3 that sRGB has as well, by its definition.
        for (channels, pixel) in [(3, vec![200, 100, 100]), (4, vec![200, 100, 100, 77])] {
            let mut raster = Raster { size: Size::new(1, 1), channels, data: pixel };
            profile.to_srgb(&mut raster);
            let expected = [213, 94, 97];
            for (got, expected) in raster.data.iter().zip(expected) {
                assert!(got.abs_diff(expected) <= 3, "{:?}", raster.data);
            }
            assert!(raster.data.get(3).is_none_or(|alpha| *alpha == 77));
        }
    }
}
