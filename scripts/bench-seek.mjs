// Seeks as a viewer feels them: hls.js in Chromium on the 480p rendition of a long film, to places that nobody has asked for, and to the
// same places again by another viewer. Prints rows of a Markdown table; the film is the one that bench-video.sh makes.
//
// node scripts/bench-seek.mjs MILLRACE ORIGIN_DIR FILM [SEEKS]

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { root, start } from '../tests/processes.mjs';

const [millrace, library, film, seeks = '8'] = process.argv.slice(2);
const { chromium } = createRequire(join(root, 'tests/browser/package.json'))('playwright-core');
const RUNG = 480;
/** Whoever does not play by then never does. */
const PATIENCE_MS = 30_000;

/** A page with a player that stays at one rendition and keeps nothing of what it has played. */
async function viewer(browser, site) {
  const page = await browser.newPage();
  const script = readFileSync(join(root, 'web/vendor/hls.min.js'), 'utf8');
  await page.route('**/seek-bench/*', (route) => {
    const js = route.request().url().endsWith('.js');
    const html = '<!doctype html><link rel="icon" href="data:,"><video muted width="640"></video><script src="/seek-bench/hls.js"></script>';
    return route.fulfill({ contentType: js ? 'text/javascript' : 'text/html', body: js ? script : html });
  });
  await page.goto(`${site}/seek-bench/page`);
  await page.evaluate(async ({ url, rung }) => {
    const video = document.querySelector('video');
    const hls = new window.Hls({ maxBufferLength: 10, backBufferLength: 0, autoStartLoad: false });
    hls.on(window.Hls.Events.MANIFEST_PARSED, (_, { levels }) => {
      const level = levels.findIndex(({ height }) => height === rung);
      hls.loadLevel = level;
      hls.startLoad(0);
    });
    hls.on(window.Hls.Events.ERROR, (_, error) => { if (error.fatal) window.fault = error.details; });
    hls.loadSource(url);
    hls.attachMedia(video);
    await video.play();
  }, { url: `${site}/${film}/master.m3u8`, rung: RUNG });
  return page;
}

/** Milliseconds from the wish to be somewhere until pictures of it move. */
const seek = (page, to) => page.evaluate(({ to: place, patience }) => new Promise((done, fail) => {
  const video = document.querySelector('video');
  const begun = performance.now();
  video.currentTime = place;
  const look = () => {
    const took = performance.now() - begun;
    if (!video.seeking && video.readyState >= 3 && video.currentTime > place + 0.03) return done({ took, lines: video.videoHeight });
    if (window.fault || took > patience) return fail(new Error(window.fault ?? `not playing at ${place} s after ${took} ms`));
    requestAnimationFrame(look);
  };
  look();
}), { to, patience: PATIENCE_MS });

async function tour(page, places) {
  const took = [];
  for (const place of places) {
    const seen = await seek(page, place);
    if (seen.lines !== RUNG) throw new Error(`${seen.lines} lines at ${place} s`);
    took.push(seen.took);
    // A viewer looks for a moment; what is made ahead meanwhile is part of it.
    await page.waitForTimeout(1000);
  }
  return took.sort((one, other) => one - other);
}

const scratch = mkdtempSync(join(tmpdir(), 'millrace-seek-'));
const server = start(millrace, ['serve', '--origin', library, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--data-dir', scratch], [/^.*\blistening on (http:\/\/\S+)/m]);
let browser;
try {
  const [site] = await server.ready;
  const executablePath = execFileSync(join(root, 'scripts/find-chromium.sh'), { encoding: 'utf8' }).trim();
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--mute-audio'] });
  const first = await viewer(browser, site);
  await first.waitForFunction(() => document.querySelector('video').currentTime > 0.5, undefined, { timeout: PATIENCE_MS });
  const length = await first.evaluate(() => document.querySelector('video').duration);
  // Far apart, never at a keyframe, and back and forth.
  const places = Array.from({ length: Number(seeks) }, (_, n) => ((((n * 5 + 3) % Number(seeks)) + 0.43) / Number(seeks)) * (length - 20) + 8);
  const cold = await tour(first, places);
  await first.close();
  const second = await viewer(browser, site);
  await second.waitForFunction(() => document.querySelector('video').currentTime > 0.5, undefined, { timeout: PATIENCE_MS });
  const warm = await tour(second, places);
  const row = (list) => `${(list[Math.floor(list.length / 2)] / 1000).toFixed(2)} s, most ${(list.at(-1) / 1000).toFixed(2)} s`;
  console.log(`| seek in Chromium, cold 480p: playing again (${seeks} seeks) | ≤ 2.0 s | ${row(cold)} |`);
  console.log(`| the same places, warm | ≤ 0.3 s | ${row(warm)} |`);
} finally {
  await browser?.close();
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
}
