// What a viewer feels, in Chromium. Seeks of hls.js on the 480p rendition of a long film, to places that nobody has asked for, and to the
// same places again by another viewer; then hls.js and shaka-player at the speed of life through what is warm, changing the rendition as
// they go. Prints rows of a Markdown table; the film is the one that bench-video.sh makes.
//
// node scripts/bench-player.mjs MILLRACE ORIGIN_DIR FILM [SEEKS]

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

const SCRIPTS = {
  hls: readFileSync(join(root, 'web/vendor/hls.min.js'), 'utf8'),
  shaka: readFileSync(join(root, 'tests/browser/node_modules/shaka-player/dist/shaka-player.compiled.js'), 'utf8'),
};
/** Played at the speed of life, in seconds, and when the rendition changes. */
const STRETCH = 32;
const CHANGES = [[5, 720], [18, 1080]];
/** The segments of the stretch, and what a player reads ahead. */
const WARM_SEGMENTS = 10;

/** A page with a player of that name: it stays at one rendition, and tells of what goes wrong. */
async function viewer(browser, site, player) {
  const page = await browser.newPage();
  await page.route('**/play-bench/*', (route) => {
    const js = route.request().url().endsWith('.js');
    const html = '<!doctype html><link rel="icon" href="data:,"><video muted width="640"></video><script src="/play-bench/player.js"></script>';
    return route.fulfill({ contentType: js ? 'text/javascript' : 'text/html', body: js ? SCRIPTS[player] : html });
  });
  await page.goto(`${site}/play-bench/page`);
  await page.evaluate(async ({ player: name, base, rung }) => {
    const video = document.querySelector('video');
    window.stalls = 0;
    window.heights = new Set();
    video.addEventListener('resize', () => window.heights.add(video.videoHeight));
    video.addEventListener('waiting', () => { if (video.currentTime > 0.2 && !video.seeking) window.stalls++; });
    if (name === 'shaka') {
      const shaka = new window.shaka.Player();
      shaka.addEventListener('error', ({ detail }) => { window.fault = `${detail.code} ${detail.message}`; });
      await shaka.attach(video);
      shaka.configure({ abr: { enabled: false } });
      await shaka.load(`${base}/manifest.mpd`);
      window.choose = (lines) => shaka.selectVariantTrack(shaka.getVariantTracks().find(({ height }) => height === lines), false);
      window.choose(rung);
    } else {
      const hls = new window.Hls({ maxBufferLength: 10, backBufferLength: 0, autoStartLoad: false });
      window.choose = (lines) => { hls.nextLevel = hls.levels.findIndex(({ height }) => height === lines); };
      hls.on(window.Hls.Events.MANIFEST_PARSED, (_, { levels }) => {
        hls.loadLevel = levels.findIndex(({ height }) => height === rung);
        hls.startLoad(0);
      });
      hls.on(window.Hls.Events.ERROR, (_, error) => { if (error.fatal) window.fault = error.details; });
      hls.loadSource(`${base}/master.m3u8`);
      hls.attachMedia(video);
    }
    await video.play();
  }, { player, base: `${site}/${film}`, rung: RUNG });
  await page.waitForFunction(() => document.querySelector('video').currentTime > 0.5, undefined, { timeout: PATIENCE_MS });
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

/** Stalls on the way, and how many heights were seen. */
async function stretch(page) {
  const at = (seconds) => page.waitForFunction((place) => window.fault || document.querySelector('video').currentTime >= place, seconds, { timeout: PATIENCE_MS });
  const begun = Date.now();
  for (const [seconds, lines] of [...CHANGES, [STRETCH, 0]]) {
    await at(seconds);
    if (lines) await page.evaluate((wanted) => window.choose(wanted), lines);
  }
  const { stalls, fault, heights, dropped, frames } = await page.evaluate(() => {
    const quality = document.querySelector('video').getVideoPlaybackQuality();
    return { stalls: window.stalls, fault: window.fault, heights: [...window.heights], dropped: quality.droppedVideoFrames, frames: quality.totalVideoFrames };
  });
  if (fault) throw new Error(fault);
  return `${stalls} (${heights.join(', ')} lines, ${((Date.now() - begun) / 1000).toFixed(1)} s for ${STRETCH - 0.5} s, ${dropped} of ${frames} pictures dropped)`;
}

const scratch = mkdtempSync(join(tmpdir(), 'millrace-seek-'));
const server = start(millrace, ['serve', '--origin', library, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--data-dir', scratch], [/^.*\blistening on (http:\/\/\S+)/m]);
let browser;
try {
  const [site] = await server.ready;
  const executablePath = execFileSync(join(root, 'scripts/find-chromium.sh'), { encoding: 'utf8' }).trim();
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--mute-audio'] });
  const first = await viewer(browser, site, 'hls');
  const length = await first.evaluate(() => document.querySelector('video').duration);
  // Far apart, never at a keyframe, and back and forth.
  const places = Array.from({ length: Number(seeks) }, (_, n) => ((((n * 5 + 3) % Number(seeks)) + 0.43) / Number(seeks)) * (length - 20) + 8);
  const cold = await tour(first, places);
  await first.close();
  const second = await viewer(browser, site, 'hls');
  const warm = await tour(second, places);
  await second.close();
  const row = (list) => `${(list[Math.floor(list.length / 2)] / 1000).toFixed(2)} s, most ${(list.at(-1) / 1000).toFixed(2)} s`;
  console.log(`| seek in Chromium, cold 480p: playing again (${seeks} seeks) | ≤ 2.0 s | ${row(cold)} |`);
  console.log(`| the same places, warm | ≤ 0.3 s | ${row(warm)} |`);
  for (const rendition of ['source', 'source-audio', '720p', `${RUNG}p`]) {
    for (let n = 1; n <= WARM_SEGMENTS; n++) await fetch(`${site}/${film}/${rendition}/seg-${n}.m4s`).then((reply) => reply.arrayBuffer());
  }
  for (const player of ['hls', 'shaka']) {
    const page = await viewer(browser, site, player);
    console.log(`| ${player === 'hls' ? 'hls.js' : 'shaka-player (DASH)'}, warm, changing renditions: stalls | 0 | ${await stretch(page)} |`);
    await page.close();
  }
} finally {
  await browser?.close();
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
}
