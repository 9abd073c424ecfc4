#!/usr/bin/env bash
# Video, all of it in about six minutes on an idle machine: an hour of 1080p at an HTTP origin that counts what it sends (how long from
# the first request to the first byte of a 480p segment, what that costs the origin, how fast a segment is made, how often when a hundred
# want it, storyboards); players in a browser; what packaging costs; and how segments join. Prints Markdown; figures belong to this machine.
#
# Environment: ROUNDS (3), SECS (3600) of video, PARTS (cold player package joins), MILLRACE (the binary to measure).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${ROUNDS:-3}
secs=${SECS:-3600}
parts=${PARTS:-cold player package joins}
millrace=${MILLRACE:-${CARGO_TARGET_DIR:-target}/release/millrace}

die() { printf 'bench: %s\n' "$*" >&2; exit 1; }
[[ -x $millrace ]] || die "no $millrace"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

[[ -d tests/browser/node_modules/playwright-core ]] || (cd tests/browser && npm ci --no-audit --no-fund --silent)

# A minute with a keyframe every five seconds, B-frames and sound, then as often as it takes.
film() {
  mkdir "$scratch/library"
  ffmpeg -nostdin -v error -f lavfi -i 'testsrc2=size=1920x1080:rate=25:duration=60,noise=alls=8:allf=t' \
    -f lavfi -i 'sine=frequency=440:sample_rate=48000:duration=60' -c:v libx264 -preset superfast -pix_fmt yuv420p \
    -g 125 -bf 2 -b:v 3M -maxrate 4M -bufsize 4M -c:a aac -b:a 96k "$scratch/minute.mp4"
  ffmpeg -nostdin -v error -stream_loop -1 -i "$scratch/minute.mp4" -t "$secs" -c copy -movflags +faststart "$scratch/library/hour.mp4"
  rm "$scratch/minute.mp4"
}

for part in $parts; do
  [[ $part =~ ^(cold|player)$ && ! -d $scratch/library ]] && film
  case $part in
    cold) node scripts/bench-video.mjs "$millrace" "$scratch/library" "$rounds" ;;
    player) node scripts/bench-player.mjs "$millrace" "$scratch/library" hour.mp4 ;;
    package) node scripts/bench-package.mjs "$millrace" ;;
    joins) printf '\n' && node scripts/bench-joins.mjs "$millrace" ;;
    *) die "no part $part" ;;
  esac
done
