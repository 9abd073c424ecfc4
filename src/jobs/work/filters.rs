//! Filters that a custom job may name, with their values. What is not here cannot be asked for.

use serde::{Deserialize, Serialize};

use super::Faults;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "filter", rename_all = "kebab-case", deny_unknown_fields)]
pub enum VideoFilter {
    Scale {
        width: u16,
        height: u16,
    },
    Crop {
        x: u16,
        y: u16,
        width: u16,
        height: u16,
    },
    /// Black around it, the picture in the middle.
    Pad {
        width: u16,
        height: u16,
    },
    Rotate {
        degrees: u16,
    },
    FlipHorizontal {},
    FlipVertical {},
    Fps {
        rate: f64,
    },
    Adjust {
        #[serde(default)]
        brightness: f64,
        #[serde(default = "one")]
        contrast: f64,
        #[serde(default = "one")]
        saturation: f64,
        #[serde(default = "one")]
        gamma: f64,
    },
    Grayscale {},
    Blur {
        sigma: f64,
    },
    Sharpen {
        amount: f64,
    },
    Denoise {
        strength: f64,
    },
    Deinterlace {},
    FadeIn {
        seconds: f64,
    },
    FadeOut {
        seconds: f64,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "filter", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AudioFilter {
    Volume {
        decibels: f64,
    },
    /// To the loudness that broadcasters agree on (EBU R 128).
    Normalise {},
    Mute {},
    FadeIn {
        seconds: f64,
    },
    FadeOut {
        seconds: f64,
    },
}

fn one() -> f64 {
    1.0
}

const MAX_SIDE: f64 = 4320.0;
const MAX_FADE: f64 = 600.0;

impl VideoFilter {
    pub(super) fn check(&self, faults: &mut Faults) {
        let mut sides = |width: u16, height: u16| {
            faults.within("width", width.into(), 16.0, MAX_SIDE);
            faults.within("height", height.into(), 16.0, MAX_SIDE);
        };
        match *self {
            Self::Scale { width, height }
            | Self::Pad { width, height }
            | Self::Crop { width, height, .. } => {
                sides(width, height);
            }
            Self::Rotate { degrees } => faults
                .unless(matches!(degrees, 90 | 180 | 270), || "degrees: must be 90, 180 or 270".to_owned()),
            Self::Fps { rate } => faults.within("rate", rate, 1.0, 120.0),
            Self::Adjust { brightness, contrast, saturation, gamma } => {
                faults.within("brightness", brightness, -1.0, 1.0);
                faults.within("contrast", contrast, 0.0, 2.0);
                faults.within("saturation", saturation, 0.0, 3.0);
                faults.within("gamma", gamma, 0.1, 10.0);
            }
            Self::Blur { sigma } => faults.within("sigma", sigma, 0.1, 50.0),
            Self::Sharpen { amount } => faults.within("amount", amount, 0.0, 3.0),
            Self::Denoise { strength } => faults.within("strength", strength, 0.0, 20.0),
            Self::FadeIn { seconds } | Self::FadeOut { seconds } => {
                faults.within("seconds", seconds, 0.0, MAX_FADE);
            }
            Self::FlipHorizontal {} | Self::FlipVertical {} | Self::Grayscale {} | Self::Deinterlace {} => {}
        }
    }

    /// As ffmpeg has it. Only words and numbers made here.
    pub(super) fn text(&self, duration: f64) -> String {
        match *self {
            Self::Scale { width, height } => {
                format!("scale=w={}:h={}:flags=bicubic,setsar=1", width & !1, height & !1)
            }
            Self::Crop { x, y, width, height } => {
                format!("crop=w={}:h={}:x={x}:y={y}", width & !1, height & !1)
            }
            Self::Pad { width, height } => {
                format!("pad=w={}:h={}:x=(ow-iw)/2:y=(oh-ih)/2:color=black", width & !1, height & !1)
            }
            Self::Rotate { degrees: 90 } => "transpose=clock".to_owned(),
            Self::Rotate { degrees: 270 } => "transpose=cclock".to_owned(),
            Self::Rotate { .. } => "hflip,vflip".to_owned(),
            Self::FlipHorizontal {} => "hflip".to_owned(),
            Self::FlipVertical {} => "vflip".to_owned(),
            Self::Fps { rate } => format!("fps=fps={rate:.3}"),
            Self::Adjust { brightness, contrast, saturation, gamma } => format!(
                "eq=brightness={brightness:.3}:contrast={contrast:.3}:saturation={saturation:.3}:gamma={gamma:.3}"
            ),
            Self::Grayscale {} => "hue=s=0".to_owned(),
            Self::Blur { sigma } => format!("gblur=sigma={sigma:.3}"),
            Self::Sharpen { amount } => format!("unsharp=lx=5:ly=5:la={amount:.3}"),
            Self::Denoise { strength } => format!("hqdn3d=luma_spatial={strength:.3}"),
            Self::Deinterlace {} => "yadif=mode=send_frame".to_owned(),
            Self::FadeIn { seconds } => format!("fade=t=in:st=0:d={seconds:.3}"),
            Self::FadeOut { seconds } => {
                format!("fade=t=out:st={:.3}:d={seconds:.3}", (duration - seconds).max(0.0))
            }
        }
    }
}

impl AudioFilter {
    pub(super) fn check(&self, faults: &mut Faults) {
        match *self {
            Self::Volume { decibels } => faults.within("decibels", decibels, -60.0, 20.0),
            Self::FadeIn { seconds } | Self::FadeOut { seconds } => {
                faults.within("seconds", seconds, 0.0, MAX_FADE);
            }
            Self::Normalise {} | Self::Mute {} => {}
        }
    }

    pub(super) fn text(&self, duration: f64) -> String {
        match *self {
            Self::Volume { decibels } => format!("volume=volume={decibels:.2}dB"),
            Self::Normalise {} => "loudnorm=I=-23:TP=-1:LRA=7,aresample=48000".to_owned(),
            Self::Mute {} => "volume=volume=0".to_owned(),
            Self::FadeIn { seconds } => format!("afade=t=in:st=0:d={seconds:.3}"),
            Self::FadeOut { seconds } => {
                format!("afade=t=out:st={:.3}:d={seconds:.3}", (duration - seconds).max(0.0))
            }
        }
    }
}
