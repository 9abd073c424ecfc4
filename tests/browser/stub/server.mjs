// Stands in for the server while the pages are made: web/, a library, thumbnails and HLS by ffmpeg, pretended verdicts.
import { createServer } from 'node:http';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, extname } from 'node:path';

const [library, port = '0'] = process.argv.slice(2);
const web = new URL('../../../web/', import.meta.url).pathname;
const made = mkdtempSync(join(tmpdir(), 'stub-'));
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.json': 'application/json', '.mp4': 'video/mp4', '.m4s': 'video/mp4', '.m3u8': 'application/vnd.apple.mpegurl', '.jpg': 'image/jpeg', '.png': 'image/png', '.webp': 'image/webp' };
const csp = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src blob:; style-src 'self'";
const stored = new Map();

function ff(...args) { execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-y', ...args]); }

function body(url) {
  const path = decodeURIComponent(url.pathname);
  if (path === '/') return [readFileSync(join(web, 'index.html')), '.html'];
  if (path === '/_millrace/player') return [readFileSync(join(web, 'player.html')), '.html'];
  if (path.startsWith('/_millrace/')) return [readFileSync(join(web, path.slice(11))), extname(path)];
  const key = Buffer.from(url.pathname + url.search).toString('base64url');
  const video = /^(\/.*\.mp4)\/(.*)$/.exec(path);
  if (video && video[2] === 'poster.webp') {
    const out = join(made, key + '.webp');
    ff('-ss', url.searchParams.get('t'), '-i', join(library, video[1]), '-frames:v', '1', '-vf', `scale=${url.searchParams.get('w')}:-1`, out);
    return [readFileSync(out), '.webp'];
  }
  if (video) {
    const dir = join(made, Buffer.from(video[1]).toString('base64url'));
    if (!existsSync(dir)) {
      execFileSync('mkdir', ['-p', dir + '/source', dir + '/audio']);
      const common = ['-c', 'copy', '-f', 'hls', '-hls_time', '2', '-hls_playlist_type', 'vod', '-hls_segment_type', 'fmp4'];
      ff('-i', join(library, video[1]), '-map', '0:v', ...common, '-hls_segment_filename', dir + '/source/seg-%d.m4s', dir + '/source/index.m3u8', '-map', '0:a', ...common, '-hls_segment_filename', dir + '/audio/seg-%d.m4s', dir + '/audio/index.m3u8');
    }
    if (video[2] === 'master.m3u8') return [Buffer.from('#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="sound",DEFAULT=YES,AUTOSELECT=YES,URI="audio/index.m3u8"\n#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=480x270,CODECS="avc1.64001f,mp4a.40.2",AUDIO="a"\nsource/index.m3u8\n'), '.m3u8'];
    return [readFileSync(join(dir, video[2])), extname(path)];
  }
  const file = join(library, path);
  if (url.searchParams.has('w')) {
    const out = join(made, key + '.' + (url.searchParams.get('fm') ?? 'webp'));
    ff('-i', file, '-vf', `scale='min(iw,${url.searchParams.get('w')})':-1`, out);
    return [readFileSync(out), extname(out)];
  }
  if (!statSync(file).isFile()) throw new Error('no');
  return [readFileSync(file), extname(file)];
}

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://stub');
  try {
    const hit = stored.has(request.url);
    if (process.env.STUB_LOG) console.error(request.url, request.headers['cache-control'], request.headers.pragma);
    const [bytes, ext] = stored.get(request.url)?.answer ?? body(url);
    if (!hit) stored.set(request.url, { answer: [bytes, ext], at: Date.now() });
    const age = Math.floor((Date.now() - stored.get(request.url).at) / 1000);
    const headers = { 'content-type': types[ext] ?? 'application/octet-stream', 'content-security-policy': csp, 'accept-ranges': 'bytes', 'cache-control': 'max-age=60', 'x-cache': hit ? 'HIT' : 'MISS', age: String(age), etag: '"x"', 'cache-status': hit ? `millrace; hit; ttl=${60 - age}` : 'millrace; fwd=uri-miss; stored', 'server-timing': 'cache;dur=0.1' };
    const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '');
    if (range) {
      const from = range[1] === '' ? Math.max(0, bytes.length - Number(range[2])) : Number(range[1]);
      const to = range[1] === '' || range[2] === '' ? bytes.length - 1 : Math.min(Number(range[2]), bytes.length - 1);
      response.writeHead(206, { ...headers, 'content-range': `bytes ${from}-${to}/${bytes.length}`, 'content-length': to - from + 1 });
      response.end(bytes.subarray(from, to + 1));
    } else {
      response.writeHead(200, { ...headers, 'content-length': bytes.length });
      response.end(request.method === 'HEAD' ? undefined : bytes);
    }
  } catch (error) {
    response.writeHead(404, { 'content-type': 'text/plain' });
    response.end(`${error.message}\n`);
  }
});
server.listen(Number(port), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
