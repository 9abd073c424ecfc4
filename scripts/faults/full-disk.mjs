// A small file system of its own, to be filled.

import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const mounted = [];

function run(...words) {
  return spawnSync(words[0], words.slice(1)).status === 0;
}

/** Where it is; null without the right to mount one. */
export function mountImage(folder, name) {
  const [image, point] = [join(folder, `${name}.image`), join(folder, name)];
  mkdirSync(point);
  if (!run('truncate', '-s', '32M', image) || !run('mkfs.ext4', '-q', '-m', '0', image) || !run('mount', '-o', 'loop', image, point)) return null;
  mounted.push(point);
  return point;
}

export const fill = (point) => { run('dd', 'if=/dev/zero', `of=${point}/full`, 'bs=1M', 'count=100'); };
export const empty = (point) => { rmSync(join(point, 'full'), { force: true }); };

export function unmountAll() {
  for (const point of mounted) run('umount', point);
}
