// Starts what the browser tests look at, on free ports, and stops it again: the server over a fresh small library, and
// the sidecar that watches it.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { binary, root, start, target } from '../processes.mjs';

/** Where the pictures of the pages go, for people to look at. */
export const screenshots = join(target, 'screenshots');
mkdirSync(screenshots, { recursive: true });

/** Polls `probe` until it gives something other than undefined, false or null. */
export async function eventually(what, probe, timeout = 15_000) {
  const deadline = Date.now() + timeout;
  let last;
  while (Date.now() < deadline) {
    try {
      last = await probe();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: not within ${timeout} ms; last saw ${last}`);
}

/** Server and sidecar over a library made for this run. */
export async function startFleet() {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-browser-'));
  const started = [];
  const stop = async () => {
    const codes = await Promise.all(started.reverse().map((process) => process.stop()));
    rmSync(scratch, { recursive: true, force: true });
    return codes;
  };
  try {
    const library = join(scratch, 'library');
    execFileSync(join(root, 'scripts/demo-library.sh'), ['--small', library], { stdio: ['ignore', 'ignore', 'inherit'] });

    const server = start(binary('millrace', 'debug'),
      ['serve', '--origin', library, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--data-dir', join(scratch, 'data'), '--memory', '64MiB', '--disk', '512MiB',
        '--set', 'pages.gallery=true', '--set', 'media.subtitles=en,de'],
      [/^.*\blistening on (http:\/\/\S+)/m, /^.*\badmin on (http:\/\/\S+)/m]);
    started.push(server);
    const [site, admin] = await server.ready;

    const sidecar = start(binary('millrace-sidecar', 'debug'),
      ['serve', '--listen', '127.0.0.1:0', '--target', admin, '--data-dir', join(scratch, 'sidecar')],
      [/^dashboard on (http:\/\/\S+)/m]);
    started.push(sidecar);
    const [dashboard] = await sidecar.ready;

    for (const base of [admin, dashboard]) await eventually(`${base} ready`, async () => (await fetch(`${base}/health/ready`)).ok);
    return { site, admin, dashboard, library, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
