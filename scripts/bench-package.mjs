// What packaging costs: processor time of the server for each segment that is made of blocks it has, and for each that it has made
// before, beside nginx that serves the same bytes from files. Prints rows of a Markdown table.
//
// node scripts/bench-package.mjs MILLRACE [SECONDS]

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, get as request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { start } from '../tests/processes.mjs';

const [millrace, length = '240'] = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), 'millrace-package-'));
const library = join(scratch, 'library');
const files = join(scratch, 'files');
for (const folder of [library, files]) mkdirSync(folder);
/** Each is asked for so often when it is a hit. */
const AGAIN = 5;

// 16 Mbit/s, a keyframe each five seconds: segments of 10 MB.
const ffmpeg = (...args) => execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-y', ...args]);
ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=1280x720:rate=25:duration=20,noise=alls=40:allf=t', '-f', 'lavfi', '-i', 'anoisesrc=duration=20:sample_rate=48000:amplitude=0.3',
  '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-g', '125', '-sc_threshold', '0', '-b:v', '16M', '-minrate', '16M', '-maxrate', '16M', '-bufsize', '8M',
  '-x264-params', 'nal-hrd=cbr', '-c:a', 'aac', '-b:a', '128k', join(scratch, 'part.mp4'));
ffmpeg('-stream_loop', '-1', '-i', join(scratch, 'part.mp4'), '-t', length, '-c', 'copy', '-movflags', '+faststart', join(library, 'film.mp4'));

const agent = new Agent({ keepAlive: true, maxSockets: 1 });
/** The body, or its length alone. */
const ask = (url, keep) => new Promise((done, fail) => {
  request(url, { agent }, (reply) => {
    const parts = [];
    let bytes = 0;
    reply.on('data', (piece) => { bytes += piece.length; if (keep) parts.push(piece); });
    reply.on('end', () => (reply.statusCode === 200 ? done(keep ? Buffer.concat(parts) : bytes) : fail(new Error(`${url}: ${reply.statusCode}`))));
  }).on('error', fail);
});

/** Milliseconds of processor time that processes have used; a thread that ended takes its own with it, but pools keep theirs. */
const spent = (ids) => ids.reduce((sum, id) => sum + readdirSync(`/proc/${id}/task`).reduce((all, thread) => {
  try { return all + Number(readFileSync(`/proc/${id}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6; } catch { return all; }
}, 0), 0);

/** For each of `urls`, asked for one after the other. */
async function cost(ids, urls) {
  const before = spent(ids);
  for (const url of urls) await ask(url);
  return (spent(ids) - before) / urls.length;
}

const named = (text) => text.split('\n').filter((line) => line && !line.startsWith('#'));
const repeated = (urls) => Array.from({ length: AGAIN }, () => urls).flat();
const server = start(millrace, ['serve', '--origin', library, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--data-dir', join(scratch, 'data'), '--memory', '3GiB',
  '--set', 'media.encoder=off'], [/^.*\blistening on (http:\/\/\S+)/m]);
let nginx;
try {
  const [site] = await server.ready;
  const film = `${site}/film.mp4`;
  const rows = [];
  // All blocks of the film are in memory then, and nothing made of it.
  await ask(film);
  for (const [what, rendition] of [['a video segment', 'source'], ['a sound segment', 'source-audio']]) {
    const names = named((await ask(`${film}/${rendition}/index.m3u8`, true)).toString()).slice(0, -1);
    const urls = names.map((name) => `${film}/${rendition}/${name}`);
    const made = await cost([server.id], urls);
    const hit = await cost([server.id], repeated(urls));
    let bytes = 0;
    for (const [n, url] of urls.entries()) {
      const body = await ask(url, true);
      bytes += body.length;
      writeFileSync(join(files, `${rendition}-${n}`), body);
    }
    rows.push({ what, rendition, count: urls.length, size: bytes / urls.length, made, hit });
  }
  const config = join(scratch, 'nginx.conf');
  const port = 20000 + Math.floor(Math.random() * 10000);
  writeFileSync(config, `daemon off; worker_processes 1; pid ${scratch}/pid; error_log stderr warn; user root;
events {} http { access_log off; sendfile on; server { listen 127.0.0.1:${port}; root ${files}; } }`);
  nginx = spawn('nginx', ['-c', config, '-p', scratch], { stdio: 'ignore' });
  const deadline = Date.now() + 10_000;
  while (!(await ask(`http://127.0.0.1:${port}/source-0`).catch(() => 0))) if (Date.now() > deadline) throw new Error('nginx does not answer');
  const workers = readdirSync('/proc').filter((id) => /^\d+$/.test(id)).filter((id) => {
    try { return readFileSync(`/proc/${id}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')[1] === String(nginx.pid); } catch { return false; }
  });
  for (const { what, rendition, count, size, made, hit } of rows) {
    const urls = Array.from({ length: count }, (_, n) => `http://127.0.0.1:${port}/${rendition}-${n}`);
    await cost(workers, urls);
    const theirs = await cost(workers, repeated(urls));
    const bytes = size > 1e6 ? `${(size / 1e6).toFixed(1)} MB` : `${(size / 1e3).toFixed(0)} kB`;
    const beside = (ours) => `${ours.toFixed(2)} ms (${(ours / theirs).toFixed(2)} × nginx: ${theirs.toFixed(2)} ms)`;
    console.log(`| packaging ${what} of ${bytes}, processor time | ≤ 2 × nginx serving the file | ${beside(made)} |`);
    console.log(`| the same as a hit | | ${beside(hit)} |`);
  }
} finally {
  agent.destroy();
  nginx?.kill('SIGTERM');
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
}
