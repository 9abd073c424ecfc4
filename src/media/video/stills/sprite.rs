//! One sheet of tiles: its keyframes alone are read, decoded by ffmpeg one after the other, and put side by side there.

use super::super::excerpt::Keyframes;
use super::super::movie::Movie;
use super::super::poster::parse_ppm;
use super::super::{Error, PosterError, RawImage};
use super::storyboard::Storyboard;
use crate::media::Source;
use crate::media::ffmpeg::Ffmpeg;

/// A picture of 16384 pixels is its header and no more.
const OVERHEAD_BYTES: usize = 64;

/// Sprite `number` (from 1) of a movie. `NotFound` when there is none of this number.
pub async fn sprite(
    source: &dyn Source,
    movie: &Movie,
    number: u32,
    ffmpeg: &Ffmpeg,
) -> Result<RawImage, PosterError> {
    let track = movie.video.as_ref().ok_or(Error::NotFound)?;
    let board = Storyboard::of(track)?;
    let sheet = board.sheet(number)?;
    let keyframes = Keyframes::new(track, &sheet.keyframes)?;
    let (width, height) = (board.width, board.height);
    // One picture a second goes in; one that cannot be decoded leaves its place to the one before. Only numbers made here
    // go into the filter.
    let filter = format!(
        "fps=1:start_time=0,scale=w={width}:h={height}:flags=bicubic,setsar=1,tile={}x{}",
        sheet.columns, sheet.rows
    );
    let arguments = [
        &["-hide_banner", "-v", "error", "-nostats", "-protocol_whitelist", "pipe", "-threads", "1"][..],
        &["-flags", "+output_corrupt", "-f", "mp4", "-i", "pipe:0", "-map", "0:v:0"],
        &["-vf", &filter, "-frames:v", "1", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"],
    ];
    let pixels = (width * sheet.columns) as usize * (height * sheet.rows) as usize;
    let ppm = ffmpeg.run(arguments.concat(), keyframes.read(source), pixels * 3 + OVERHEAD_BYTES).await?;
    parse_ppm(ppm).ok_or_else(|| Error::malformed("no picture could be decoded").into())
}
