#!/usr/bin/env bash
# A disk that fails under the built server: one that hangs, EIO and a read-only filesystem, on an ext4 image of its own. Asks for objects all
# the time; every answer must be 200 and right, the tier must go off, and come back when the disk does. Needs root.
#
# Environment: MILLRACE (the binary).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/sbin:/sbin"

millrace=${MILLRACE:-${CARGO_TARGET_DIR:-target}/release/millrace}
[[ $(id -u) == 0 ]] || { printf 'fault-disk: needs root, to mount an image\n' >&2; exit 77; }

scratch=$(mktemp -d)
pid=
loop=
finish() {
  [[ -z $pid ]] || { kill -TERM "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
  fsfreeze -u "$scratch/disk" 2>/dev/null || true
  umount -l "$scratch/disk" 2>/dev/null || true
  [[ -z $loop ]] || losetup -d "$loop" 2>/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM
die() { printf 'fault-disk: %s\n' "$*" >&2; grep -vE '^ +(at )?[0-9/]' "$scratch/log" | tail -30 >&2; exit 1; }

mkdir -p "$scratch/www" "$scratch/disk"
for n in {1..60}; do head -c $((n * 9000)) /dev/urandom >"$scratch/www/$n"; done

disk() {
  truncate -s 200M "$scratch/image"
  mkfs.ext4 -q -F "$scratch/image"
  loop=$(losetup --find --show "$scratch/image")
  mount "$loop" "$scratch/disk"
}
no_disk() {
  umount -l "$scratch/disk"
  losetup -d "$loop" || true
  rm -f "$scratch/image"
}

state() { curl -fsS "$admin/api/v1/cache/stats" | sed 's/.*"disk_state":"\([a-z]*\)".*/\1/'; }
get_all() {
  local n
  for n in {1..60}; do
    curl -fsS -o "$scratch/body" "$data/$n?$1" || die "/$n?$1 failed"
    cmp -s "$scratch/body" "$scratch/www/$n" || die "/$n?$1 is wrong"
  done
}
until_state() {
  local deadline=$((SECONDS + 60)) round=0
  until [[ $(state) == "$1" ]]; do
    ((SECONDS < deadline)) || die "never became $1"
    get_all "$2$((round++))"
  done
  printf '%s: the disk tier is %s, all answers right\n' "$2" "$1"
}

disk
"$millrace" serve --origin "$scratch/www" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --data-dir "$scratch/disk" --memory 16MiB \
  --disk 64MiB >"$scratch/out" 2>"$scratch/log" &
pid=$!
deadline=$((SECONDS + 20))
until [[ $(grep -c http "$scratch/out") -ge 2 ]]; do ((SECONDS < deadline)) || die 'does not start'; sleep 0.1; done
data=$(grep -o 'http://[0-9.:]*' "$scratch/out" | sed -n 1p)
admin=$(grep -o 'http://[0-9.:]*' "$scratch/out" | sed -n 2p)
get_all start
[[ $(state) == on ]] || die 'not on at first'

# Writes hang. What memory holds is answered at once, what is not within the two seconds that a fill waits for the disk; it is
# given up when it does not answer for ten seconds, and used again when it moves.
fsfreeze -f "$scratch/disk"
until_state off hanging
for n in {1..60}; do
  curl -fsS -m 1 -o "$scratch/body" "$data/$n?hanging0" || die "/$n waits for a disk that hangs"
done
fsfreeze -u "$scratch/disk"
until_state on moving

# EXT4_IOC_SHUTDOWN: from now on every read and write of this filesystem fails with EIO.
python3 -c 'import fcntl, struct, sys; fcntl.ioctl(open(sys.argv[1]), 0x8004587d, struct.pack("I", 2))' "$scratch/disk/cache/lock"
until_state off eio
no_disk
disk
until_state on repaired

# ext4 gives up its journal, as it does after an error, and turns read-only under open files.
mount -o remount,abort "$scratch/disk" 2>/dev/null || true
until_state off read-only
no_disk
disk
until_state on repaired-again
get_all end
grep -E 'disk tier|panicked' "$scratch/log"
