// What tests outside of Rust share: where the binaries are, and starting and stopping a process.

import { spawn } from 'node:child_process';
import { accessSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../', import.meta.url));
export const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');

/** A process may take this long to say where it listens. */
const START_MS = 20_000;
/** …and this long to finish what is in flight when it is told to stop. */
const STOP_MS = 45_000;

/** The binary of that name, built with `profile` unless `MILLRACE_BIN_DIR` says where binaries are. */
export const binary = (name, profile) => join(process.env.MILLRACE_BIN_DIR ?? join(target, profile), name);

/** Starts a program; `ready` has the first group of every pattern, once its output has matched each of them. */
export function start(program, args, patterns) {
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
  return { id: child.pid, ready, stop, output: () => output };
}
