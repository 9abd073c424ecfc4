#!/usr/bin/env bash
# Image variants beside npm's sharp (libvips): both get the same files in memory and make the same picture, taking turns on one
# core. Prints a Markdown table of medians over rounds and means over photos: wall and CPU time (which also tells something on a
# busy machine), bytes, likeness to what libvips makes of all pixels with nothing lost (SSIMULACRA2, SSIM), and memory, of the
# process at its peak and above what it held before the job.
#
# Photos: real ones of the Debian package lomiri-wallpapers-16.04; or given: bench-image.sh PHOTO…
# Environment: ROUNDS (15), ONLY (a regular expression over the names of cases).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/deps.sh image-bench

target="${CARGO_TARGET_DIR:-$PWD/target}"
photos=("$@")
if [[ ${#photos[@]} == 0 ]]; then
  from="$target/tools/photos/usr/share/backgrounds"
  photos=("$from"/{sunset_by_Aitzol_Berasategi,Dragonfly_by_Bolly,seeding_by_Clements_Engelhardt}.jpg)
fi

CARGO_TARGET_DIR="$target/image-bench" cargo build --quiet --release --locked --manifest-path benches/image/Cargo.toml
core=$(taskset -pc $$ | sed 's/.*: //; s/[,-].*//')
taskset -c "$core" node benches/image/compare.mjs "$target/image-bench/release/image-bench" "${photos[@]}"
