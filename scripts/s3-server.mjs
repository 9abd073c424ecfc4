// A real S3 server for scripts: s3s-fs on a free port over a folder of its own, with one bucket `media`. `scripts/deps.sh test`
// installs it. Its entity tags are the MD5 of what it holds.

import { spawn } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const key = { id: 'AKTEST', secret: 'a-secret-of-tests' };

/** `count` objects `0`, `1`, … with the same content. */
export async function startS3(content, count) {
  const installed = join(process.env.CARGO_TARGET_DIR ?? 'target', 'tools/bin/s3s-fs');
  const root = mkdtempSync(join(tmpdir(), 'millrace-s3-'));
  const bucket = join(root, 'media');
  mkdirSync(bucket);
  writeFileSync(join(bucket, '0'), content);
  for (let i = 1; i < count; i++) linkSync(join(bucket, '0'), join(bucket, String(i)));
  const child = spawn(existsSync(installed) ? installed : 's3s-fs',
    ['--host', '127.0.0.1', '--port', '0', '--access-key', key.id, '--secret-key', key.secret, root],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, RUST_LOG: 's3s_fs=info', NO_COLOR: '1' } });
  let text = '';
  const endpoint = await new Promise((found, failed) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        const at = /http:\/\/127\.0\.0\.1:\d+/.exec((text += chunk));
        if (at) found(at[0]);
      });
    }
    child.on('error', failed);
    child.on('exit', () => failed(new Error(`s3s-fs stopped: ${text}`)));
  });
  const settings = `[[origins]]\nname = "s3"\nurl = "s3://media"\n[origins.s3]\nendpoint = "${endpoint}"\naccess_key_id = "${key.id}"\nsecret_access_key = "${key.secret}"\n`;
  // The same for a store of uploads, as flags.
  const uploads = [['endpoint', endpoint], ['access_key_id', key.id], ['secret_access_key', key.secret]]
    .flatMap(([name, value]) => ['--set', `uploads.s3.${name}=${value}`]);
  const stop = async () => {
    child.kill('SIGTERM');
    await new Promise((done) => child.once('exit', done));
    rmSync(root, { recursive: true, force: true });
  };
  return { settings, uploads, stop };
}
