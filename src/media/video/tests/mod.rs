//! Whole presentations of files made by ffmpeg, judged by ffprobe; and hostile files.

mod clips;
mod fixture;
mod fragmented;
mod hostile;
mod packaging;
mod playlists;
mod posters;
mod progressive;
mod rungs;
mod stills;
