// How segments join: sources of all kinds in a folder, a server before it, and each rendition put together from its segments as a
// player would. Pictures are counted and their times compared with the source's; they are measured beside the same film encoded whole,
// and sound is compared with the source's, sample by sample. Prints Markdown; ends with 1 where a goal is missed.
//
// node scripts/bench-joins.mjs MILLRACE [SECONDS [NAME…]]

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { start } from '../tests/processes.mjs';

const [millrace, length = '12', ...only] = process.argv.slice(2);
const seconds = Number(length);
const HEIGHT = 240;
const KBPS = 300;
/** Pictures before and after a join that are looked at. */
const NEAR = 5;
/** Decoded sound is looked at in windows of 20 ms, this many before and after a join. */
const RATE = 48000;
const WINDOW = RATE / 50;
const WINDOWS = 5;
/** Samples of a packet of AAC. */
const PACKET = 1024;
/** What equal sound is said to have, in dB. */
const PERFECT = 120;

const scratch = mkdtempSync(join(tmpdir(), 'millrace-joins-'));
const library = join(scratch, 'library');
mkdirSync(library);
const at = (name) => join(scratch, name);
const film = (name) => join(library, name);
const ffmpeg = (...args) => execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-y', ...args], { maxBuffer: 1 << 30, stdio: ['ignore', 'pipe', 'pipe'] });

const H264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p', '-g', '50', '-bf', '2', '-b:v', '2M'];
// Without noise that decoders make up, differently each time they begin.
const AAC = ['-c:a', 'aac', '-b:a', '96k', '-aac_pns', '0'];

/** Moving, with fine noise, so that joins would be seen; and a sound that never repeats. */
function make(name, rate, ...args) {
  ffmpeg('-f', 'lavfi', '-i', `testsrc2=size=640x360:rate=${rate}:duration=${seconds},noise=alls=6:allf=t`,
    '-f', 'lavfi', '-i', `aevalsrc=0.4*sin(2*PI*t*(300+40*t))+0.05*random(0):s=${RATE}:d=${seconds}`, ...args, film(name));
}

function copy(from, to, before, ...after) {
  ffmpeg(...before, '-i', film(from), '-map', '0', '-c', 'copy', ...after, film(to));
}

const both = ['-map', '0:v', '-map', '1:a'];
const vary = ['-vf', "select='not(eq(mod(n,7),3))*not(eq(mod(n,11),5))'", '-vsync', 'vfr'];
const quiet = ['-x265-params', 'log-level=none:keyint=50:pools=1:frame-threads=1'];
/** What each source is, and how it is made. */
const sources = [
  ['plain.mp4', '25, B-frames, index at the end', (name) => make(name, '25', ...both, ...H264, ...AAC)],
  ['front.mp4', 'index in front', (name) => copy('plain.mp4', name, [], '-movflags', '+faststart')],
  ['ntsc.mp4', '29.97', (name) => make(name, '30000/1001', ...both, ...H264, ...AAC)],
  ['cinema.mov', '23.976, QuickTime', (name) => make(name, '24000/1001', ...both, ...H264, ...AAC)],
  ['vfr.mp4', 'varying rate', (name) => make(name, '25', ...both, ...vary, ...H264, ...AAC)],
  ['nob.mp4', 'no B-frames', (name) => make(name, '25', ...both, ...H264, '-bf', '0', ...AAC)],
  ['open.mp4', 'open GOPs', (name) => make(name, '30000/1001', ...both, ...H264, '-bf', '3', '-x264-params', 'open-gop=1:scenecut=0', ...AAC)],
  ['cut.mp4', 'edit list', (name) => copy('plain.mp4', name, ['-ss', '2.5'])],
  ['late.mp4', 'sound late by 1.5 s', (name) => ffmpeg('-i', film('plain.mp4'), '-itsoffset', '1.5', '-i', film('plain.mp4'), '-map', '0:v', '-map', '1:a', '-c', 'copy', film(name))],
  ['fragmented.mp4', 'fragmented', (name) => copy('plain.mp4', name, [], '-movflags', '+frag_keyframe+empty_moov+default_base_moof')],
  ['turned.mp4', 'rotated', (name) => copy('plain.mp4', name, [], '-metadata:s:v:0', 'rotate=90')],
  ['mute.mp4', 'no sound', (name) => make(name, '25', '-map', '0:v', ...H264)],
  ['sound.m4a', 'sound alone', (name) => make(name, '25', '-map', '1:a', ...AAC)],
  ['two.mp4', 'two sound tracks', (name) => make(name, '25', ...both, '-map', '1:a', '-filter:a:1', 'volume=0.5', ...H264, ...AAC)],
  ['hevc.mp4', '10-bit HEVC', (name) => make(name, '25', ...both, '-c:v', 'libx265', '-preset', 'ultrafast', '-tag:v', 'hvc1', '-pix_fmt', 'yuv420p10le', ...quiet, ...AAC)],
];

/** Times of the packets of a stream, in order of presentation, in seconds, from the first. */
function times(path, stream) {
  const said = execFileSync('ffprobe', ['-v', 'error', '-ignore_editlist', '1', '-select_streams', stream, '-show_entries', 'packet=pts_time', '-of', 'csv=p=0', path], { encoding: 'utf8' });
  const found = said.split('\n').map(parseFloat).filter(Number.isFinite).sort((one, other) => one - other);
  return found.map((time) => time - found[0]);
}

/** SSIM of each picture beside the source's, and their number. */
function ssim(path, reference, size) {
  const stats = at('ssim.log');
  rmSync(stats, { force: true });
  const same = (from, to) => `[${from}:v]settb=1/1000,setpts=N*40,scale=${size}:flags=bicubic,format=yuv420p[${to}]`;
  ffmpeg('-ignore_editlist', '1', '-flags', '+output_corrupt', '-i', path, '-ignore_editlist', '1', '-flags', '+output_corrupt', '-i', reference,
    '-lavfi', `${same(0, 'a')};${same(1, 'b')};[a][b]ssim=stats_file=${stats}:shortest=1`, '-vsync', 'passthrough', '-f', 'null', '-');
  return readFileSync(stats, 'utf8').trim().split('\n').map((line) => Number(/All:([\d.]+)/.exec(line)[1]));
}

const mean = (list) => list.reduce((sum, one) => sum + one, 0) / list.length;
const pcm = (path, stream) => {
  const bytes = ffmpeg('-ignore_editlist', '1', '-i', path, '-map', `0:${stream}`, '-ac', '1', '-ar', String(RATE), '-f', 'f32le', '-');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.length & ~3)));
};

/** Of windows of decoded sound beside the same in the source. */
function snr(made, own, from, skip) {
  let signal = 0;
  let noise = 0;
  for (let i = Math.max(from, -skip); i < Math.min(from + WINDOW, own.length - skip, made.length); i++) {
    signal += own[i + skip] ** 2;
    noise += (made[i] - own[i + skip]) ** 2;
  }
  return Math.min(PERFECT, noise ? 10 * Math.log10(signal / noise) : PERFECT);
}

let site;
async function fetched(path) {
  const reply = await fetch(`${site}${path}`);
  if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
  return Buffer.from(await reply.arrayBuffer());
}

/** A rendition as a player puts it together, and where its segments begin. */
async function joined(name, rendition) {
  const list = (await fetched(`/${name}/${rendition}/index.m3u8`)).toString().split('\n');
  const parts = [await fetched(`/${name}/${rendition}/init.mp4`)];
  const starts = [];
  let time = 0;
  for (const line of list) {
    if (line.startsWith('#EXTINF:')) {
      starts.push(time);
      time += parseFloat(line.slice(8));
    } else if (line && !line.startsWith('#')) parts.push(await fetched(`/${name}/${rendition}/${line}`));
  }
  const path = at(`${name}-${rendition}.mp4`);
  writeFileSync(path, Buffer.concat(parts));
  return { path, starts };
}

/** Pictures, largest difference of a time, least of the measure beside the whole at joins. */
async function picture(name, rung) {
  const whole = at('whole.mp4');
  const own = film(name);
  const [made, passed] = [await joined(name, rung), await joined(name, 'source')];
  const [size] = execFileSync('ffprobe', ['-v', 'error', '-select_streams', 'v:0', '-show_entries', 'stream=width,height', '-of', 'csv=p=0:s=x', made.path], { encoding: 'utf8' }).trim().split('\n');
  const scale = `scale=${size.replace('x', ':')}:flags=bicubic,setsar=1`;
  ffmpeg('-ignore_editlist', '1', '-flags', '+output_corrupt', '-i', own, '-map', '0:v:0', '-vf', scale, '-fps_mode', 'passthrough', '-c:v', 'libx264', '-preset', 'superfast',
    '-threads', '1', '-pix_fmt', 'yuv420p', '-profile:v', 'high', '-sc_threshold', '0', '-g', '99999', '-b:v', `${KBPS}k`, '-maxrate', `${Math.round(KBPS * 1.07)}k`, '-bufsize', `${KBPS}k`, '-an', whole);
  const expected = times(passed.path, 'v:0');
  const found = times(made.path, 'v:0');
  const drift = Math.max(...found.map((time, n) => Math.abs(time - expected[n])));
  const [ours, theirs] = [ssim(made.path, own, size.replace('x', ':')), ssim(whole, own, size.replace('x', ':'))];
  let dip = 0;
  for (const start of made.starts.slice(1)) {
    const first = found.findIndex((time) => time >= start - 0.001);
    const near = (list) => mean(list.slice(Math.max(0, first - NEAR), first + NEAR));
    dip = Math.max(dip, near(theirs) - near(ours));
  }
  const source = times(own, 'v:0').length;
  return { pictures: `${found.length} of ${source}`, complete: found.length === expected.length && ours.length === found.length && source >= found.length && (source === found.length || name === 'cut.mp4'), drift, dip, ours: mean(ours), theirs: mean(theirs), joins: made.starts.length - 1 };
}

/** Least SNR at joins beside that in between, in dB. */
async function sound(name, track) {
  const made = await joined(name, track ? `source-audio-${track + 1}` : 'source-audio');
  const [ours, own] = [pcm(made.path, 'a:0'), pcm(film(name), `a:${track}`)];
  // An edit list leaves out sound in front, and decoders begin with more or less of it: whole packets, of which the place is sought.
  let all = [];
  for (let skip = own.length - ours.length - 4 * PACKET; skip <= own.length - ours.length + 4 * PACKET; skip += PACKET) {
    const tried = [];
    for (let from = 0; from + WINDOW <= ours.length; from += WINDOW) tried.push(snr(ours, own, from, skip));
    if (!all.length || mean(tried) > mean(all)) all = tried;
  }
  const usual = [...all].sort((one, other) => one - other)[Math.floor(all.length / 2)];
  const begins = made.starts[0];
  let least = usual;
  for (const start of made.starts.slice(1)) {
    const window = Math.floor(((start - begins) * RATE) / WINDOW);
    least = Math.min(least, ...all.slice(Math.max(0, window - WINDOWS), window + WINDOWS));
  }
  return { dip: usual - least, usual, joins: made.starts.length - 1 };
}

const config = at('millrace.toml');
writeFileSync(config, `[media]\nsegment_secs = 2\nencode_ahead = 0\n[[media.ladder]]\nheight = ${HEIGHT}\nkbps = ${KBPS}\n`);
/** Others are copies of the first. */
const chosen = sources.filter(([name], n) => n === 0 || only.length === 0 || only.includes(name));
for (const [name, , build] of chosen) build(name);
const server = start(millrace, ['serve', '--config', config, '--origin', library, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--data-dir', at('data')],
  [/^.*\blistening on (http:\/\/\S+)/m]);
let missed = 0;
try {
  [site] = await server.ready;
  console.log(`${chosen.length} sources of ${seconds} s, segments of 2 s, ${HEIGHT}p at ${KBPS} kbit/s.\n`);
  console.log('| source | joins | pictures made | time off, most | SSIM: made, whole | dip at joins (goal ≤ 0.02) | sound: SNR dip at joins (goal ≤ 1 dB) |');
  console.log('|---|--:|--:|--:|--:|--:|--:|');
  for (const [name, what] of chosen) {
    const seen = name.endsWith('.m4a') ? null : await picture(name, `${HEIGHT}p`);
    const heard = [];
    for (let track = 0; track < (name === 'mute.mp4' ? 0 : name === 'two.mp4' ? 2 : 1); track++) heard.push(await sound(name, track));
    const good = (!seen || (seen.complete && seen.drift < 0.0005 && seen.dip <= 0.02)) && heard.every(({ dip }) => dip <= 1);
    if (!good) missed++;
    const cells = seen ? [seen.joins, seen.pictures, `${(seen.drift * 1000).toFixed(2)} ms`, `${seen.ours.toFixed(3)}, ${seen.theirs.toFixed(3)}`, seen.dip.toFixed(4)] : [heard[0].joins, '–', '–', '–', '–'];
    const heardAs = heard.map(({ dip, usual }) => `${dip.toFixed(1)} dB${usual >= PERFECT ? ' (sample for sample)' : ''}`);
    console.log(`| ${what}${good ? '' : ' **missed**'} | ${cells.join(' | ')} | ${heardAs.join(', ') || '–'} |`);
  }
} finally {
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
}
process.exitCode = missed ? 1 : 0;
