#!/usr/bin/env bash
# Puts files of every kind and make into fuzz/corpus, for fuzz-image.sh to begin with. Needs ffmpeg; ImageMagick, avifenc (libavif-bin),
# gif2webp and img2webp (webp) add the kinds that only they make.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
at="$PWD/corpus"
cd "$scratch"

have() { command -v "$1" >/dev/null 2>&1 || { printf 'fuzz-seeds: no %s, so without its files\n' "$1" >&2; return 1; }; }
# What a tool of this version cannot make is left out.
try() { "$@" >/dev/null 2>&1 || true; }
ff() { try ffmpeg -nostdin -v error -y "$@"; }
still() { ff -i "${2:-p.png}" -frames:v 1 "${@:3}" "$1"; }

ffmpeg -nostdin -v error -y -f lavfi -i 'mandelbrot=size=64x64,noise=alls=9' -frames:v 1 -pix_fmt rgb24 p.png
ffmpeg -nostdin -v error -y -i p.png -vf 'format=rgba,geq=r=r(X\,Y):g=g(X\,Y):b=b(X\,Y):a=X*4' a.png
for format in gray ya8 pal8 monob gray16be rgb48be rgba64be; do still "png-$format.png" a.png -pix_fmt $format; done
for filter in none sub up avg paeth mixed; do still "png-$filter.png" a.png -pred $filter -compression_level 0; done
for format in yuvj420p yuvj422p yuvj444p gray; do still "$format.jpg" p.png -pix_fmt $format; done
for format in bgr24 bgra pal8 gray monob rgb565; do still "$format.bmp" a.png -pix_fmt $format; done
for coding in raw packbits lzw deflate; do still "$coding.tif" a.png -compression_algo $coding; done
for format in gray16le pal8 monob yuv420p; do still "$format.tif" a.png -pix_fmt $format; done
still lossy.webp p.png; still lossless.webp a.png -lossless 1; still alpha.webp a.png; still pal.gif p.png
ff -f lavfi -i testsrc2=size=48x32:rate=5:duration=1 moving.gif
ff -i moving.gif -c:v libwebp_anim -loop 0 moving.webp
ff -i moving.gif -f apng moving.png
still aom.avif p.png -c:v libaom-av1 -cpu-used 8
still rav1e.avif p.png -c:v librav1e -speed 10
if have convert; then
  for colours in 0 2 3 6; do try convert a.png -interlace PNG -define png:color-type=$colours "interlaced-$colours.png"; done
  try convert a.png -depth 16 -interlace PNG interlaced-16.png
  try convert p.png -interlace JPEG progressive.jpg
  try convert p.png -colorspace CMYK ink.jpg
  try convert p.png -colors 16 -compress RLE rle.bmp
  try convert p.png -define tiff:tile-geometry=16x16 tiles.tif
fi
if have avifenc; then
  for layout in 420 422 444 400; do
    for depth in 8 10 12; do try avifenc -j 1 -s 9 -y $layout -d $depth p.png "$layout-$depth.avif"; done
  done
  try avifenc -j 1 -s 9 a.png alpha.avif
  try avifenc -j 1 -s 9 -p a.png premultiplied.avif
  try avifenc -j 1 -s 9 --grid 2x1 p.png p.png grid.avif
  try avifenc -j 1 -s 9 p.png a.png sequence.avif
  for turn in 0 1 2 3; do try avifenc -j 1 -s 9 --irot $turn --imir $((turn / 2)) p.png "turned-$turn.avif"; done
  try avifenc -j 1 -s 6 -a film-grain-test=1 p.png grain.avif
fi
if have gif2webp; then try gif2webp -mixed moving.gif -o mixed.webp; fi

# The first byte chooses what is to be made.
seed() {
  local target=$1 file=$2 choice
  mkdir -p "$at/$target"
  for choice in 0 1 3 5 7; do
    { printf "\\x0$choice"; cat "$file"; } >"$at/$target/seed-$(basename "$file")-$choice"
  done
}
for file in *.*; do
  [[ -s $file ]] || continue
  mkdir -p "$at/probe" && cp "$file" "$at/probe/seed-$file"
  case $file in
    *.jpg) seed jpeg "$file" ;;
    *.png) seed png "$file" ;;
    *.bmp) seed bmp "$file" ;;
    *.tif) seed tiff "$file" ;;
    *.avif) seed avif "$file" ;;
    *.webp) seed webp "$file" ;;
    *.gif) seed gif "$file"; tail -c +14 "$file" >"$file.rest"; seed animation "$file.rest" ;;
  esac
done
mkdir -p "$at/params"
number=0
while read -r line; do
  printf '%s' "$line" >"$at/params/seed-$((number += 1))"
done <<'LINES'
w=320&h=240&fit=crop&crop=entropy&q=70&fm=webp&auto=format,compress,dpr&ch=width,save-data&dpr=2.5
rect=1,2,3,4&trim=auto&trim-tol=20&orient=6&rot=90&flip=hv&enlarge=1&fp-x=0.1&fp-y=.9
bri=-10&con=5&sat=100&mono=abc&blur=20&sharp=5&bg=8fff&pad=3&border-radius=max
lossless=1&keep=copyright,icc&frame=3&fm=json&preset=a,b
width=320,height=10,fit=cover,gravity=0.5x0.2,quality=5,format=auto,dpr=2,rotate=90,flip=h,background=#ffffff
blur=3,sharpen=2,brightness=1.1,contrast=.9,saturation=0,trim=border,metadata=keep,anim=false,preset=x
rs:fill:320:240:1:0/g:fp:0.1:0.2/q:70/f:png/bl:2/sh:1/br:-10/co:1.2/sa:0/bg:1:2:3/pd:4/t:10/ar:0/exp:9/dpr:2
s:1:2/w:0/h:/rt:fill-down/g:nowe:0:0/sm:1/cb:x/scp:1/el:1/ex:1/rot:270/fl:1:1/pr:a:b
LINES
du -sh "$at"
