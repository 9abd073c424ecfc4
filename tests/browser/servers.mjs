// Starts what the browser tests look at, on free ports, and stops it again: the server over a fresh small library, and
// the sidecar that watches it.

import { execFileSync, spawn } from 'node:child_process';
import { accessSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const binaries = process.env.MILLRACE_BIN_DIR ?? join(target, 'debug');

/** Where the pictures of the pages go, for people to look at. */
export const screenshots = join(target, 'screenshots');
mkdirSync(screenshots, { recursive: true });

/** A process may take this long to say where it listens. */
const START_MS = 20_000;
/** …and this long to finish what is in flight when it is told to stop. */
const STOP_MS = 15_000;

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

/** Starts a program and waits until its output has matched every pattern once. */
function start(program, args, patterns) {
  accessSync(program);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const ready = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${program} did not say where it listens:\n${output}`)), START_MS);
    const read = (chunk) => {
      output += chunk;
      const found = patterns.map((pattern) => pattern.exec(output)?.[1]);
      if (found.every(Boolean)) {
        clearTimeout(timer);
        resolve(found);
      }
    };
    child.stdout.setEncoding('utf8').on('data', read);
    child.stderr.setEncoding('utf8').on('data', read);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code}:\n${output}`)));
  });
  const stop = () => new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve(child.exitCode);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    child.once('exit', (code) => {
      clearTimeout(timer);
      resolve(code);
    });
    child.kill('SIGTERM');
  });
  return { ready, stop, output: () => output };
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

    const server = start(join(binaries, 'millrace'),
      ['serve', '--origin', library, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--data-dir', join(scratch, 'data'), '--memory', '64MiB', '--disk', '512MiB',
        '--set', 'pages.gallery=true'],
      [/^.*\blistening on (http:\/\/\S+)/m, /^.*\badmin on (http:\/\/\S+)/m]);
    started.push(server);
    const [site, admin] = await server.ready;

    const sidecar = start(join(binaries, 'millrace-sidecar'),
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
