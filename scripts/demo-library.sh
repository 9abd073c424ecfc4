#!/usr/bin/env bash
# Makes a demo library of pictures and videos with sound: demo-library.sh [--small] DIRECTORY
#
# Nothing is downloaded: demo-paint.mjs paints, ffmpeg encodes. What is there already is left alone, and each
# file appears under its name only when it is whole, so an interrupted call can simply be repeated.
# --small makes the same files in a few seconds, a quarter as wide and shorter, for tests.
set -euo pipefail

small=
[[ ${1:-} == --small ]] && { small=yes; shift; }
library=${1:?usage: demo-library.sh [--small] DIRECTORY}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

mkdir -p "$library/photos" "$library/videos"
cd "$library"
scratch=$(mktemp -d ".making.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# px N: a length of the full library, in this one; even, because 4:2:0 video wants that.
px() { if [[ $small ]]; then echo $(($1 / 8 * 2)); else echo "$1"; fi; }
# secs FULL SMALL
secs() { if [[ $small ]]; then echo "$2"; else echo "$1"; fi; }

paint() { node "$here/demo-paint.mjs" "$@"; }
encode() { ffmpeg -nostdin -v error -y "$@"; }
raw() { printf '%s\n' -f rawvideo -pix_fmt "$1" -video_size "$2" -framerate 25; }

# make FILE FUNCTION ARGUMENTS…: runs the function, which writes to $out, unless the file is there.
make() {
  local file=$1
  shift
  [[ -e $file ]] && return 0
  printf 'demo: %s\n' "$file"
  out="$scratch/new.${file##*.}"
  "$@"
  mv "$out" "$file"
}

# ---- pictures ----------------------------------------------------------------------------------------------

# photo WIDTH HEIGHT QUALITY key=value…: one JPEG (baseline, 4:2:0).
photo() {
  local size quality=$3
  size="$(px "$1")x$(px "$2")"
  shift 3
  paint size="$size" grain=12 "$@" | encode $(raw rgb24 "$size") -i - -frames:v 1 -pix_fmt yuvj420p -q:v "$quality" "$out"
}

# Discs are costly to paint and soft: painted at half size, enlarged, grain added after.
lights() {
  local size
  size="$(px 800)x$(px 800)"
  paint size="$size" scene=bokeh grain=0 "$@" |
    encode $(raw rgb24 "$size") -i - -frames:v 1 -vf "scale=2*iw:-1:flags=bicubic,noise=alls=7" -pix_fmt yuvj420p -q:v 3 "$out"
}

progressive() {
  photo "$@"
  jpegtran -copy none -progressive -outfile "$scratch/progressive.jpg" "$out"
  mv "$scratch/progressive.jpg" "$out"
}

# Stored lying on its side, with the EXIF orientation that tells a viewer to turn it upright (6: a quarter right).
rotated() {
  local size
  size="$(px 1200)x$(px 1800)"
  paint size="$size" "$@" |
    encode $(raw rgb24 "$size") -i - -frames:v 1 -vf transpose=cclock -pix_fmt yuvj420p -q:v 3 "$scratch/lying.jpg"
  node "$here/exif-orientation.mjs" "$scratch/lying.jpg" "$out" 6
}

alpha() {
  local size
  size="$(px 1200)x$(px 1200)"
  paint size="$size" "$@" | encode $(raw rgba "$size") -i - -frames:v 1 "$out"
}

# ---- videos ------------------------------------------------------------------------------------------------

# A slow chord that never repeats: each note swells in its own time. Arguments: seconds, then the notes in Hz.
chord() {
  local duration=$1 left='' right='' note i=0
  shift
  for note in "$@"; do
    left+="+0.09*sin(2*PI*$note*t)*(0.55-0.45*cos(2*PI*t/($((7 + 3 * i)))))"
    right+="+0.09*sin(2*PI*$note*1.003*t)*(0.55-0.45*cos(2*PI*t/($((8 + 2 * i)))))"
    i=$((i + 1))
  done
  printf "aevalsrc=exprs='%s|%s':s=48000:d=%s,afade=t=in:d=1.5,afade=t=out:st=%s:d=1.5" \
    "${left#+}" "${right#+}" "$duration" "$((duration - 2))"
}

# A running time code, where a font for it is installed.
timecode() {
  local text="drawtext=font=monospace:text='%{pts\\:hms}':fontcolor=white@0.85:fontsize=h/28:x=h/22:y=h/22:shadowcolor=black@0.6:shadowx=2:shadowy=2"
  if encode -f lavfi -i color=s=64x64:d=0.04 -vf "$text" -f null - 2>/dev/null; then echo "$text"; else echo null; fi
}

# H.264 with B-frames and keyframes some seconds apart, AAC; the same bytes for the same frames.
x264=(-c:v libx264 -preset veryfast -pix_fmt yuv420p -bf 3 -threads 2 -flags:v +bitexact
  -c:a aac -b:a 128k -flags:a +bitexact -map_metadata -1 -fflags +bitexact)

# Six ridges slide by at speeds that fit their distance.
parallax() {
  local width height duration frames inputs=() graph='' i
  width=$(px 1920) height=$(px 1080) duration=$(secs 40 12)
  frames=$((duration * 25))
  paint scene=sky palette=dusk seed=3 sun=0.62 size="${width}x$height" |
    encode $(raw rgb24 "${width}x$height") -i - -frames:v 1 "$scratch/sky.png"
  local speeds=(0 1 2 3 5 8) tops=(30 34 40 48 58 70) # pixels per frame; where the strip starts, in percent
  for i in 0 1 2 3 4 5; do
    local top=$((height * tops[i] / 100)) speed=${speeds[i]} way=$((frames * speeds[i]))
    [[ $small ]] && speed="$speed/4" way=$((way / 4))
    local strip="$((width + way + 2))x$((height - top))"
    paint scene=ridge palette=dusk seed=3 sun=0.62 index=$i count=6 of="$height" top=$top size="$strip" |
      encode $(raw rgba "$strip") -i - -frames:v 1 "$scratch/ridge-$i.png"
    inputs+=(-i "$scratch/ridge-$i.png")
    graph+=";[$((i + 1))]format=yuva420p,loop=-1:1,setpts=N/25/TB[r$i];[v$i][r$i]overlay=x='-n*$speed':y=$top[v$((i + 1))]"
  done
  encode -i "$scratch/sky.png" "${inputs[@]}" -f lavfi -i "$(chord "$duration" 110 164.81 220 261.63 329.63 392)" \
    -filter_complex "[0]format=yuv420p,loop=-1:1,setpts=N/25/TB[v0]$graph;[v6]$(timecode)[v]" \
    -map '[v]' -map 7 -r 25 -t "$duration" "${x264[@]}" -crf 19 -g 125 -movflags +faststart "$out"
}

# Northern lights over a dark shore. The index (moov) stays at the end of the file, as cameras leave it.
aurora() {
  local width height duration
  width=$(px 1280) height=$(px 720) duration=$(secs 30 8)
  local soft="$((width / 5))x$((height / 5))" strip top=$((height * 55 / 100))
  strip="${width}x$((height - top))"
  paint scene=sky palette=night seed=9 sun=none size="${width}x$height" |
    encode $(raw rgb24 "${width}x$height") -i - -frames:v 1 "$scratch/sky.png"
  paint scene=ridge palette=night seed=11 index=3 count=6 of="$height" top=$top size="$strip" |
    encode $(raw rgba "$strip") -i - -frames:v 1 "$scratch/shore.png"
  paint scene=aurora palette=night seed=21 grain=0 size="$soft" frames=$((duration * 25)) |
    encode $(raw rgb24 "$soft") -i - -i "$scratch/sky.png" -i "$scratch/shore.png" \
      -f lavfi -i "$(chord "$duration" 98 146.83 196 293.66 440)" -filter_complex \
      "[0]scale=$width:$height:flags=bicubic,format=gbrp[a];[1]format=gbrp,loop=-1:1,setpts=N/25/TB[s];
       [a][s]blend=all_mode=screen:shortest=1,format=yuv420p[l];
       [2]format=yuva420p,loop=-1:1,setpts=N/25/TB[g];[l][g]overlay=y=$top:shortest=1,noise=alls=3:allf=t,$(timecode)[v]" \
      -map '[v]' -map 3 -t "$duration" "${x264[@]}" -crf 20 -g 75 "$out"
}

# A phone held upright: from the sky down to the water and back.
portrait() {
  local width height duration tall
  width=$(px 720) height=$(px 1280) duration=$(secs 24 6)
  tall="${width}x$(px 2400)"
  paint scene=lake palette=dusk seed=6 size="$tall" |
    encode $(raw rgb24 "$tall") -i - -frames:v 1 "$scratch/tall.png"
  encode -i "$scratch/tall.png" -f lavfi -i "$(chord "$duration" 130.81 196 261.63 329.63)" -filter_complex \
    "[0]format=yuv420p,loop=-1:1,setpts=N/25/TB,crop=$width:$height:0:'(ih-oh)*(0.5-0.5*cos(2*PI*t/$duration))',$(timecode)[v]" \
    -map '[v]' -map 1 -r 25 -t "$duration" "${x264[@]}" -crf 20 -g 50 -movflags +faststart "$out"
}

# Texts beside the long video: SubRip in one language, WebVTT in another.
subtitles_en() {
  printf '1\n00:00:00,500 --> 00:00:04,000\nThe sun is <i>almost</i> gone.\n\n2\n00:00:04,500 --> 00:00:08,000\nSix ridges slide by,\neach at its own speed.\n\n3\n00:00:08,500 --> 00:00:12,000\nThe nearest is the fastest.\n' >"$out"
}

subtitles_de() {
  printf 'WEBVTT\n\n00:00.500 --> 00:04.000\nDie Sonne sinkt.\n\n00:04.500 --> 00:08.000\nSechs Hügel ziehen vorbei.\n' >"$out"
}

# ---- what there is -----------------------------------------------------------------------------------------

photos() {
  make photos/alpine-12mp.jpg photo 4000 3000 2 scene=ridges palette=alpine seed=8
  make photos/dusk-ridges.jpg photo 2400 1600 3 scene=ridges palette=dusk seed=3
  make photos/dawn-lake.jpg photo 1600 2000 3 scene=lake palette=dawn seed=5
  make photos/desert-progressive.jpg progressive 3000 2000 3 scene=dunes palette=desert seed=4
  make photos/night-lake.jpg photo 2560 1440 3 scene=lake palette=night seed=9
  make photos/evening-lights.jpg lights palette=dusk seed=6
  make photos/turned-by-exif.jpg rotated grain=12 scene=ridges palette=dawn seed=12
  make photos/planet.png alpha scene=planet seed=1
}

# Painting takes one core and x264 two, so the long video runs beside everything else. Each side has a scratch
# directory of its own.
(
  scratch=$(mktemp -d "$scratch/XXXX")
  photos
  make videos/aurora-moov-last.mp4 aurora
) &
beside=$!
make videos/dusk-drive.mp4 parallax
make videos/lake-portrait.mp4 portrait
make videos/dusk-drive.en.srt subtitles_en
make videos/dusk-drive.de.vtt subtitles_de
wait "$beside"

# ---- index -------------------------------------------------------------------------------------------------

# index.json is what the gallery page lists. Sizes are those a viewer sees, after any EXIF rotation.
write_index() {
  node - "$out" "$(px 16)" "$(secs 40 12)" "$(secs 30 8)" "$(secs 24 6)" <<'NODE'
const { writeFileSync } = require('node:fs');
const [out, sixteen, drive, aurora, lake] = process.argv.slice(2);
const px = (length) => (Number(sixteen) === 16 ? length : Math.floor(length / 8) * 2);
const item = (kind, path, title, width, height, more = {}) => ({ path, kind, title, width: px(width), height: px(height), ...more });
const items = [
  item('video', 'videos/dusk-drive.mp4', 'Dusk drive', 1920, 1080, { duration: Number(drive), note: 'H.264 and AAC, index first' }),
  item('image', 'photos/alpine-12mp.jpg', 'Alpine morning', 4000, 3000, { note: '12 megapixels' }),
  item('image', 'photos/dawn-lake.jpg', 'Lake at dawn', 1600, 2000),
  item('video', 'videos/aurora-moov-last.mp4', 'Northern lights', 1280, 720, { duration: Number(aurora), note: 'index (moov) at the end' }),
  item('image', 'photos/dusk-ridges.jpg', 'Ridges at dusk', 2400, 1600),
  item('image', 'photos/planet.png', 'Planet', 1200, 1200, { note: 'PNG with alpha' }),
  item('image', 'photos/desert-progressive.jpg', 'Dunes', 3000, 2000, { note: 'progressive JPEG' }),
  item('video', 'videos/lake-portrait.mp4', 'Lake, held upright', 720, 1280, { duration: Number(lake), note: 'portrait' }),
  item('image', 'photos/evening-lights.jpg', 'Evening lights', 1600, 1600),
  item('image', 'photos/night-lake.jpg', 'Moon over the lake', 2560, 1440),
  item('image', 'photos/turned-by-exif.jpg', 'Turned by EXIF', 1200, 1800, { note: 'stored lying, EXIF orientation 6' }),
];
writeFileSync(out, `${JSON.stringify({ title: 'Millrace demo library', items }, null, 2)}\n`);
NODE
}
make index.json write_index
