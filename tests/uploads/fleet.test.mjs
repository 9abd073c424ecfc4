// A real tus client before two servers that share S3 and PostgreSQL: at each disturbance the server that has the upload is killed, and
// the client goes on at the other one. Environment: BYTES (24 MiB), KILLS (2).

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, createReadStream, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';

import * as tus from 'tus-js-client';

import { startS3 } from '../../scripts/s3-server.mjs';
import { secret, serve, token } from '../access.mjs';
import { binary } from '../processes.mjs';
import { fetched, noise, proxy } from './traffic.mjs';

const bytes = Number(process.env.BYTES ?? 24 << 20);
const kills = Number(process.env.KILLS ?? 2);
const program = binary('millrace', 'debug');

/** A database in a folder of its own, reached through a socket there. It does not run as root. */
async function startPostgres() {
  // Debian keeps each version apart, off the path.
  const versions = '/usr/lib/postgresql';
  const newest = existsSync(versions) ? readdirSync(versions).sort((a, b) => a - b).at(-1) : null;
  const program = (name) => (newest ? join(versions, newest, 'bin', name) : name);
  const id = (what) => Number(execFileSync('id', [what, 'postgres']));
  const other = process.getuid() === 0 ? { uid: id('-u'), gid: id('-g') } : {};
  const dir = mkdtempSync(join(tmpdir(), 'pg-'));
  if (other.uid) chownSync(dir, other.uid, other.gid);
  const options = { ...other, cwd: dir, env: { ...process.env, LC_ALL: 'C.UTF-8' } };
  execFileSync(program('initdb'), ['--no-sync', '--auth=trust', '--username=millrace', '--encoding=UTF8', '-D', join(dir, 'data')], { ...options, stdio: 'ignore' });
  const child = spawn(program('postgres'), ['-D', join(dir, 'data'), '-k', dir, '-c', 'listen_addresses=', '-c', 'fsync=off'],
    { ...options, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  await new Promise((resolve, reject) => {
    child.stderr.on('data', (text) => {
      said += text;
      if (said.includes('ready to accept connections')) resolve();
    });
    child.once('exit', () => reject(new Error(`postgres stopped: ${said}`)));
  });
  const stop = async () => {
    child.kill('SIGINT');
    await once(child, 'exit');
    rmSync(dir, { recursive: true, force: true });
  };
  return { url: `postgres://millrace@${encodeURIComponent(dir)}/postgres`, stop };
}

test('an upload goes on at the other server when one is killed', { timeout: 900_000 }, async () => {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-fleet-'));
  const [s3, database] = await Promise.all([startS3('', 1), startPostgres()]);
  const key = secret();
  process.env.MILLRACE__UPLOADS__DATABASE = database.url;
  const shared = ['--disk', '0', '--memory', '32MiB', '--set', 'uploads.store=s3://media/assets', ...s3.uploads];
  const start = (name) => serve(program, key, ['--data-dir', join(scratch, name), ...shared]);
  const servers = [await start('one'), await start('two')];
  const between = proxy();
  try {
    const source = join(scratch, 'source.bin');
    const digest = await noise(source, bytes);
    between.server.listen(0, '127.0.0.1');
    await once(between.server, 'listening');
    between.to(servers[0].port);
    let done = 0;
    let restarting = Promise.resolve();
    between.watch((passed) => {
      if (done >= kills || passed < ((done + 1) * bytes) / (kills + 1)) return;
      const dying = done % 2;
      done += 1;
      restarting = restarting.then(async () => {
        await servers[dying].kill();
        between.to(servers[1 - dying].port);
        between.cut();
        servers[dying] = await start(['one', 'two'][dying]);
      });
    });
    await new Promise((resolve, reject) => {
      const upload = new tus.Upload(createReadStream(source), {
        endpoint: `http://127.0.0.1:${between.server.address().port}/files/`,
        uploadSize: bytes,
        chunkSize: 4 << 20,
        headers: { Authorization: `Bearer ${token(program, key, '--scope', 'upload')}` },
        metadata: { filename: 'films/noise.bin', filetype: 'application/octet-stream' },
        retryDelays: Array(200).fill(200),
        onError: reject,
        onSuccess: resolve,
      });
      upload.start();
    });
    await restarting;
    assert.equal(done, kills, 'all kills have happened');
    for (const server of servers) {
      assert.deepEqual(await fetched(server.port, '/assets/films/noise.bin'), { status: 200, digest });
    }
  } finally {
    between.cut();
    between.server.close();
    await Promise.all(servers.map((server) => server.kill()));
    await Promise.all([s3.stop(), database.stop()]);
    rmSync(scratch, { recursive: true, force: true });
  }
});
