// An encoder that takes more than a minute for a segment: every ffmpeg that a server starts is stopped for that long. The film and its
// segments are made for it; the server gets the film from where `serveFilm` answers.

import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';

/** One segment each two seconds, so that some end in every window of the rule. */
const EVERY_MS = 2000;
/** More than the rule allows, and less than the server does: eight times the segment's own duration. */
const STOPPED_MS = 62_000;
export const SEGMENT_SECS = 12;
const SEGMENTS = 60;

/** Film of so many segments, as small as it gets. */
export function makeFilm(folder) {
  const film = join(folder, 'film.mp4');
  spawnSync('ffmpeg', ['-loglevel', 'error', '-f', 'lavfi', '-i', `testsrc=size=640x360:rate=2:duration=${SEGMENTS * SEGMENT_SECS}`, '-c:v', 'libx264', '-preset', 'ultrafast',
    '-g', String(2 * SEGMENT_SECS), '-sc_threshold', '0', '-pix_fmt', 'yuv420p', '-movflags', '+faststart', film]);
  try { return readFileSync(film); } catch { return null; }
}

export function serveFilm(film, request, response) {
  const head = { 'content-type': 'video/mp4', 'cache-control': 'max-age=3600', etag: '"film"', 'accept-ranges': 'bytes' };
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  if (!range) {
    response.writeHead(200, { ...head, 'content-length': film.length });
    return response.end(request.method === 'HEAD' ? undefined : film);
  }
  const [from, to] = [Number(range[1]), Math.min(range[2] ? Number(range[2]) : film.length - 1, film.length - 1)];
  response.writeHead(206, { ...head, 'content-length': to - from + 1, 'content-range': `bytes ${from}-${to}/${film.length}` });
  return response.end(film.subarray(from, to + 1));
}

/** Programs of this name that a process has started, or its threads. */
function childrenOf(parent, name) {
  const found = [];
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const [, program, rest] = /^\d+ \((.*)\) (.*)$/s.exec(stat);
      if (program === name && Number(rest.split(' ')[1]) === parent) found.push(Number(pid));
    } catch { /* has ended meanwhile */ }
  }
  return found;
}

const signal = (pid, name) => { try { process.kill(pid, name); } catch { /* has ended */ } };

/** `pid` of the server, asked each time: it may have been started again. */
export function slowEncoder(port, pid) {
  let asking = null;
  let stopping = null;
  let segment = 0;
  const stopped = new Map();
  const ask = () => {
    segment += 1;
    if (segment > SEGMENTS) return;
    http.get({ host: '127.0.0.1', port, path: `/film.mp4/240p/seg-${segment}.m4s` }, (reply) => reply.resume()).on('error', () => {});
  };
  const stop = () => {
    for (const child of childrenOf(pid(), 'ffmpeg')) {
      if (stopped.has(child)) continue;
      signal(child, 'SIGSTOP');
      stopped.set(child, setTimeout(() => signal(child, 'SIGCONT'), STOPPED_MS));
    }
  };
  const end = () => {
    clearInterval(asking);
    clearInterval(stopping);
    for (const [child, timer] of stopped) { clearTimeout(timer); signal(child, 'SIGCONT'); }
  };
  return {
    real: true,
    patience: 240,
    // Initialization first: it is not what is slow.
    prepare: () => fetch(`http://127.0.0.1:${port}/film.mp4/240p/init.mp4`).then((reply) => reply.arrayBuffer()),
    make: () => { stopping = setInterval(stop, 20); asking = setInterval(ask, EVERY_MS); },
    mend: end,
    end,
  };
}
