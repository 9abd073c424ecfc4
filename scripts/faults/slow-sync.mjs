// A disk whose syncs take long, for one program: a library that is loaded before libc's, and sleeps in front of fsync and fdatasync
// while a file exists. Wants a C compiler; without, `library` is null.

import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const SOURCE = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static void wait_while_slow(void) {
  const char *flag = getenv("SLOW_SYNC_WHILE");
  if (flag && access(flag, F_OK) == 0) usleep(1500000);
}
int fsync(int fd) { wait_while_slow(); return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd); }
int fdatasync(int fd) { wait_while_slow(); return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd); }
`;

export function slowSync(folder) {
  const [source, library, flag] = ['slow-sync.c', 'slow-sync.so', 'syncs-are-slow'].map((name) => join(folder, name));
  writeFileSync(source, SOURCE);
  const built = spawnSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl']).status === 0;
  return {
    library: built ? library : null,
    env: built ? { LD_PRELOAD: library, SLOW_SYNC_WHILE: flag } : {},
    begin: () => writeFileSync(flag, ''),
    end: () => rmSync(flag, { force: true }),
  };
}
