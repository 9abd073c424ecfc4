//! The same for outputs that are only sound, whether their sources have pictures or not.

use super::{
    AudioFilter, Facts, Step, Work,
    arguments::{AUDIO_KBPS, Arguments, Unfit, cut_seconds, tempo},
};

/// What such an output's name ends in.
pub(super) const EXTENSION: &str = "m4a";
/// By which it is known for sound, whatever its name. Four bytes.
const BRAND: [&str; 2] = ["-brand", "M4A "];
/// Of what this demuxer reads, MP4 can keep whatever is in it as it is.
const SAME: &str = "mov";

pub(super) fn plan(work: &Work, facts: &[Facts]) -> Result<Vec<Step>, Unfit> {
    let Some(first) = facts.first().filter(|_| facts.iter().all(|facts| facts.audio)) else {
        return Err("the source has no sound".to_owned());
    };
    let mut filter = None;
    let (mut cut, mut seconds, mut kbps, mut copied) = (None, first.seconds, AUDIO_KBPS, false);
    match work {
        Work::Speed(work) => {
            filter = Some(tempo(work.factor));
            seconds = first.seconds / work.factor;
        }
        Work::Trim(work) => {
            seconds = cut_seconds(work, first)?;
            cut = Some(work.start);
            copied = !work.exact && first.format == SAME;
        }
        Work::Compress(work) => kbps = work.audio_kbps,
        Work::Concat(_) => return Ok(vec![join(facts)]),
        Work::Custom(work) => {
            let texts = work.audio.iter().map(|filter| AudioFilter::text(filter, first.seconds));
            filter = Some(texts.collect::<Vec<_>>().join(","));
        }
        // They have been refused.
        Work::Ladder(_) | Work::Crop(_) | Work::ThumbnailSet(_) => {
            return Err("it is about pictures".to_owned());
        }
    }
    let mut args = Arguments::opening();
    args.input(0, first, cut);
    if cut.is_some() {
        args.pair("-t", format!("{seconds:.3}"));
    }
    args.all(&["-map", "0:a:0"]);
    if let Some(filter) = filter.filter(|filter| !filter.is_empty()) {
        args.pair("-af", filter);
    }
    match copied {
        true => args.all(&["-c", "copy", "-avoid_negative_ts", "make_zero"]),
        false => args.sound(kbps),
    }
    args.all(&BRAND);
    Ok(vec![args.file(seconds)])
}

fn join(facts: &[Facts]) -> Step {
    let mut args = Arguments::opening();
    let mut graph = String::new();
    for (index, one) in facts.iter().enumerate() {
        args.input(index, one, None);
        let seconds = one.seconds;
        graph.push_str(&format!(
            "[{index}:a:0]aresample=48000:async=1:first_pts=0,aformat=channel_layouts=stereo,\
             apad=whole_dur={seconds:.3},atrim=duration={seconds:.3}[a{index}];"
        ));
    }
    (0..facts.len()).for_each(|index| graph.push_str(&format!("[a{index}]")));
    graph.push_str(&format!("concat=n={}:v=0:a=1[a]", facts.len()));
    args.pair("-filter_complex", graph);
    args.all(&["-map", "[a]"]);
    args.sound(AUDIO_KBPS);
    args.all(&BRAND);
    args.file(facts.iter().map(|one| one.seconds).sum())
}
