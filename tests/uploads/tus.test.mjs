// A real tus client against the built server: disconnected again and again, and the server killed under it. What is stored in the
// end is what was sent. Environment: BYTES (64 MiB), DISCONNECTS (20), KILLS (2).

import assert from 'node:assert/strict';
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { once } from 'node:events';

import * as tus from 'tus-js-client';

import { secret, serve, token } from '../access.mjs';
import { binary } from '../processes.mjs';
import { fetched, noise, proxy } from './traffic.mjs';

const bytes = Number(process.env.BYTES ?? 64 << 20);
const disconnects = Number(process.env.DISCONNECTS ?? 20);
const kills = Number(process.env.KILLS ?? 2);
const program = binary('millrace', 'debug');

test('an upload survives disconnects and kill -9', { timeout: 900_000 }, async () => {
  const scratch = mkdtempSync(join(tmpdir(), 'millrace-tus-'));
  const key = secret();
  const start = () => serve(program, key, ['--data-dir', join(scratch, 'data'), '--disk', '0', '--memory', '32MiB']);
  let server = await start();
  const between = proxy();
  try {
    const source = join(scratch, 'source.bin');
    const digest = await noise(source, bytes);
    between.server.listen(0, '127.0.0.1');
    await once(between.server, 'listening');
    between.to(server.port);
    const endpoint = `http://127.0.0.1:${between.server.address().port}/files/`;
    const authorization = `Bearer ${token(program, key, '--scope', 'upload')}`;

    // Disturbances at even distances; every so often it is the server that goes.
    const total = disconnects + kills;
    let done = 0;
    let restarting = Promise.resolve();
    between.watch((passed) => {
      if (done >= total || passed < ((done + 1) * bytes) / (total + 1)) return;
      done += 1;
      if (done % Math.ceil(total / kills) === 0) {
        restarting = server.kill().then(start).then((next) => {
          server = next;
          between.to(server.port);
        });
      }
      between.cut();
    });
    await new Promise((resolve, reject) => {
      const upload = new tus.Upload(createReadStream(source), {
        endpoint,
        uploadSize: bytes,
        chunkSize: 8 << 20,
        headers: { Authorization: authorization },
        metadata: { filename: 'films/noise.bin', filetype: 'application/octet-stream' },
        retryDelays: Array(total * 10).fill(200),
        onError: reject,
        onSuccess: resolve,
      });
      upload.start();
    });
    await restarting;
    assert.equal(done, total, 'all disturbances have happened');
    assert.deepEqual(await fetched(server.port, '/assets/films/noise.bin'), { status: 200, digest });
    await server.kill();
    server = await start();
    between.to(server.port);
    assert.deepEqual(await fetched(server.port, '/assets/films/noise.bin'), { status: 200, digest });
  } finally {
    between.cut();
    between.server.close();
    await server.kill();
    rmSync(scratch, { recursive: true, force: true });
  }
});
