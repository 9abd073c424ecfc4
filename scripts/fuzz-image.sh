#!/usr/bin/env bash
# Feeds the image part's decoders and parsers with bytes that coverage leads to: fuzz-image.sh [TARGET]…, all of fuzz/fuzz_targets
# without. On the stable toolchain: libFuzzer needs the marks of coverage that the compiler sets, and no sanitizer. The code in C is
# then not marked, so what is found there is found by chance, and its memory is not counted. With SANITIZER=address both is mended:
# Rust and C are built for the address sanitizer (clang and its runtime are needed), a third to a tenth as fast.
#
# Inputs that led somewhere stay in fuzz/corpus, those that broke something in fuzz/artifacts; the exit status is then not 0.
# fuzz-seeds.sh makes inputs to begin with.
# Environment: SECONDS_EACH (60; 0: what is in the corpus, once), SANITIZER.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"
triple=$(rustc -vV | sed -n 's/^host: //p')
target="${CARGO_TARGET_DIR:-$PWD/../target}/fuzz${SANITIZER:+-$SANITIZER}"

targets=("$@")
if [[ ${#targets[@]} == 0 ]]; then
  for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# With a target named, the flags are not for build scripts, which could not be linked with them.
marks="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
marks+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
if [[ ${SANITIZER:-} == address ]]; then
  # The stable compiler has the sanitizer, and this is the way to it. The libraries of C take their flags by target.
  marks+=" -Zsanitizer=address --cfg sanitizer"
  export RUSTC_BOOTSTRAP=1 ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1}"
  name=${triple//-/_}
  export "CC_$name=clang" "CFLAGS_$name=-fsanitize=address,fuzzer-no-link -g1"
fi
RUSTFLAGS="$marks --cfg fuzzing -Cdebug-assertions" CARGO_TARGET_DIR="$target" \
  cargo build --quiet --release --locked --target "$triple" "${targets[@]/#/--bin=}"

each=${SECONDS_EACH:-60}
status=0
for name in "${targets[@]}"; do
  mkdir -p "corpus/$name" artifacts
  how=(-max_total_time="$each")
  [[ $each != 0 ]] || how=(-runs=0)
  "$target/$triple/release/$name" "corpus/$name" "${how[@]}" -rss_limit_mb=2048 -timeout=30 \
    -max_len=65536 -artifact_prefix="artifacts/$name-" -verbosity=0 -print_final_stats=1 || status=1
done
exit "$status"
