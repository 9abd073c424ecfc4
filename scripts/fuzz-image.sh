#!/usr/bin/env bash
# Feeds the image part's decoders and parsers with bytes that coverage leads to: fuzz-image.sh [TARGET]…, all of fuzz/fuzz_targets
# without. On the stable toolchain: libFuzzer needs the marks of coverage that the compiler sets, and no sanitizer. The code in C is
# not marked, so what is found there is found by chance; `cargo +nightly fuzz run TARGET` adds the address sanitizer.
#
# Inputs that led somewhere stay in fuzz/corpus, those that broke something in fuzz/artifacts; the exit status is then not 0.
# Environment: SECONDS_EACH (60).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"
triple=$(rustc -vV | sed -n 's/^host: //p')
target="${CARGO_TARGET_DIR:-$PWD/../target}/fuzz"

targets=("$@")
if [[ ${#targets[@]} == 0 ]]; then
  for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# With a target named, the flags are not for build scripts, which could not be linked with them.
marks="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
marks+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$marks --cfg fuzzing -Cdebug-assertions" CARGO_TARGET_DIR="$target" \
  cargo build --quiet --release --locked --target "$triple" "${targets[@]/#/--bin=}"

status=0
for name in "${targets[@]}"; do
  mkdir -p "corpus/$name" artifacts
  "$target/$triple/release/$name" "corpus/$name" -max_total_time="${SECONDS_EACH:-60}" -rss_limit_mb=2048 -timeout=30 \
    -max_len=65536 -artifact_prefix="artifacts/$name-" -verbosity=0 -print_final_stats=1 || status=1
done
exit "$status"
