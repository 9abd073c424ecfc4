// The player page as a person uses it, and a DASH player of another house, in a real Chromium at the speed of life.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { chromium } from 'playwright-core';

import { root } from '../processes.mjs';
import { eventually, screenshots, startFleet } from './servers.mjs';

const video = '/videos/dusk-drive.mp4';
let fleet, browser, page, complaints;

before(async () => {
  fleet = await startFleet();
  browser = await chromium.launch({
    executablePath: execFileSync(join(root, 'scripts/find-chromium.sh'), { encoding: 'utf8' }).trim(),
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--mute-audio'],
  });
});

after(async () => {
  await browser?.close();
  if (!fleet) return; // It did not start; `before` has said why.
  const codes = await fleet.stop();
  assert.deepEqual(codes.filter((code) => code !== 0), [], 'every process ends with 0 when told to stop');
});

beforeEach(async () => {
  complaints = [];
  page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.on('console', (message) => {
    if (message.type() === 'error' || /Content Security Policy/i.test(message.text())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
});

afterEach(async () => {
  await page.close();
  assert.deepEqual(complaints, [], 'no error on the console, no violation of the content security policy');
});

const time = () => page.locator('video').evaluate((element) => element.currentTime);
const pastTime = (seconds) => eventually(`playback past ${seconds} s`, async () => (await time()) > seconds, 40_000);
const shot = (name) => page.screenshot({ path: join(screenshots, `${name}.png`) });

async function openPlayer() {
  await page.goto(`${fleet.site}/_millrace/player?src=${video}`);
  await pastTime(0.3);
}

test('the timeline shows a picture of the place under the pointer', async () => {
  await openPlayer();
  const bar = await page.locator('#seek').boundingBox();
  const seen = [];
  for (const part of [0.1, 0.5, 0.9]) {
    await page.mouse.move(bar.x + bar.width * part, bar.y + bar.height / 2);
    seen.push(await eventually('a picture', () => page.locator('#tip').evaluate((tip) => {
      const { backgroundImage, backgroundPosition, width, height } = document.querySelector('#tip-picture').style;
      return !tip.hidden && /storyboard-1\.webp/.test(backgroundImage) && { backgroundPosition, width, height, label: tip.innerText.trim() };
    })));
  }
  assert.equal(new Set(seen.map(({ backgroundPosition }) => backgroundPosition)).size > 1, true, 'another picture at another place');
  assert.deepEqual(seen.map(({ label }) => label), ['0:01', '0:06', '0:11']);
  assert.deepEqual(seen.map(({ width, height }) => `${width} ${height}`), Array(3).fill('160px 90px'));
  const loaded = await eventually('the sprite', () => page.evaluate(() => performance.getEntriesByType('resource').some(({ name }) => /storyboard-1\.webp/.test(name))));
  assert.ok(loaded);
  await shot('player-scrubbing');
  await page.mouse.click(bar.x + bar.width * 0.75, bar.y + bar.height / 2);
  await pastTime(8.9);
});

test('captions come in the language that is chosen', async () => {
  await openPlayer();
  const names = () => page.locator('#captions option').allInnerTexts();
  await eventually('languages', async () => (await names()).length === 3);
  assert.deepEqual(await names(), ['Off', 'English', 'Deutsch']);
  const shown = () => page.locator('video').evaluate((element) => [...element.textTracks].filter(({ mode }) => mode === 'showing')
    .flatMap(({ activeCues }) => [...activeCues ?? []].map(({ text }) => text)).join('|'));
  assert.equal(await shown(), '');
  await page.locator('#video').press('c');
  await page.locator('video').evaluate((element) => { element.currentTime = 5; });
  await eventually('English', async () => /Six ridges/.test(await shown()));
  await shot('player-captions');
  await page.locator('#captions').selectOption('Deutsch');
  await eventually('German', async () => /Sechs Hügel/.test(await shown()));
  // A file has them as well.
  await page.getByText('Progressive MP4', { exact: true }).click();
  await eventually('languages of the file', async () => (await names()).length === 3);
  await page.locator('video').evaluate((element) => { element.currentTime = 5; });
  await page.locator('#captions').selectOption('English');
  await eventually('English', async () => /Six ridges/.test(await shown()));
});

test('figures name the rung and how the cache answered for each segment', async () => {
  await openPlayer();
  await page.locator('#video').press('i');
  await page.locator('#stats:visible').waitFor();
  await pastTime(2);
  const figures = await eventually('figures', async () => {
    const texts = await page.locator('#stats dd').allInnerTexts();
    return texts.every((text) => text.trim() && text !== '–') && texts;
  });
  assert.match(figures[0], /p\b|source/);
  assert.match(figures[1], /\d+ × \d+/);
  assert.match(figures[2], /\d+\.\d s/);
  const verdicts = await page.locator('#stat-segments span').evaluateAll((cells) => cells.map((cell) => [cell.dataset.verdict, cell.textContent]));
  assert.ok(verdicts.length > 0 && verdicts.every(([verdict]) => /HIT|MISS|REVALIDATED|STALE|BROWSER/.test(verdict)), JSON.stringify(verdicts));
  await shot('player-figures');
  await page.locator('#video').press('i');
  await page.locator('#stats').waitFor({ state: 'hidden' });
});

test('keys and buttons do the same', async () => {
  await openPlayer();
  const paused = () => page.locator('video').evaluate((element) => element.paused);
  await page.locator('#play').click();
  await eventually('a pause', paused);
  await page.locator('#video').press('k');
  await eventually('playback', async () => !(await paused()));
  await page.locator('#video').press('l');
  await pastTime(9.9);
  await page.locator('#video').press('j');
  await eventually('10 s back', async () => (await time()) < 5);
  const rungs = await page.locator('#quality option').count();
  assert.ok(rungs > 1);
  await page.locator('#video').press('<');
  assert.equal(await page.locator('#quality').evaluate((element) => element.selectedIndex), 1);
  await page.locator('#video').press('>');
  assert.equal(await page.locator('#quality').evaluate((element) => element.selectedIndex), 0);
  await page.locator('#seek').focus();
  await page.keyboard.press('9');
  await pastTime(10.7);
  assert.match(await page.locator('#download').getAttribute('href'), /dusk-drive\.mp4\?download$/);
});

/** A page with nothing but a DASH player of another house, on the server's own address. */
async function openShaka() {
  const script = readFileSync(join(root, 'tests/browser/node_modules/shaka-player/dist/shaka-player.compiled.js'), 'utf8');
  await page.route('**/shaka-test/*', (route) => {
    const js = route.request().url().endsWith('.js');
    const html = '<!doctype html><link rel="icon" href="data:,"><video muted width="640"></video><script src="/shaka-test/shaka.js"></script>';
    return route.fulfill({ contentType: js ? 'text/javascript' : 'text/html', body: js ? script : html });
  });
  await page.goto(`${fleet.site}/shaka-test/page`);
  await page.evaluate(async (source) => {
    const element = document.querySelector('video');
    window.stalls = 0;
    window.faults = [];
    element.addEventListener('waiting', () => { if (element.currentTime > 0.2 && !element.seeking) window.stalls++; });
    const player = new window.shaka.Player();
    await player.attach(element);
    player.addEventListener('error', ({ detail }) => window.faults.push(`${detail.code} ${detail.message}`));
    await player.load(`${source}/manifest.mpd`);
    window.player = player;
    await element.play();
  }, video);
}

const shaka = () => page.evaluate(() => {
  const element = document.querySelector('video');
  const { droppedVideoFrames: dropped, totalVideoFrames: frames } = element.getVideoPlaybackQuality();
  return { time: element.currentTime, ended: element.ended, stalls: window.stalls, faults: window.faults, dropped, frames, duration: element.duration };
});

test('DASH plays at the speed of life, with seeks, other rungs and texts, without a stall once it is warm', async () => {
  await openShaka();
  await eventually('the end', async () => (await shaka()).ended, 60_000);
  const tracks = await page.evaluate(() => ({
    heights: window.player.getVariantTracks().map(({ height }) => height), texts: window.player.getTextTracks().map(({ language }) => language).sort(),
  }));
  assert.ok(new Set(tracks.heights).size > 1, `rungs ${tracks.heights}`);
  assert.deepEqual(tracks.texts, ['de', 'en']);

  // All rungs are made now, or are once they have been played.
  for (const height of new Set(tracks.heights)) {
    for (let n = 1; n <= 3; n++) {
      for (const name of [height === Math.max(...tracks.heights) ? 'source' : `${height}p`]) await fetch(`${fleet.site}${video}/${name}/seg-${n}.m4s`).then((response) => response.arrayBuffer());
    }
  }
  await page.reload();
  await openShaka();
  const begun = Date.now();
  await eventually('three seconds', async () => (await shaka()).time >= 3, 20_000);
  assert.ok(Date.now() - begun < 8000, `three seconds took ${Date.now() - begun} ms`);
  for (const to of [9, 1, 6]) {
    await page.evaluate((seconds) => { document.querySelector('video').currentTime = seconds; }, to);
    await eventually(`playback from ${to} s`, async () => { const { time: now } = await shaka(); return now > to + 0.5 && now < to + 4; }, 20_000);
  }
  const heights = [...new Set(tracks.heights)].sort((one, other) => one - other);
  for (const height of [heights[0], heights.at(-1)]) {
    await page.evaluate((wanted) => {
      window.player.configure('abr.enabled', false);
      document.querySelector('video').currentTime = 0.5;
      window.player.selectVariantTrack(window.player.getVariantTracks().find((track) => track.height === wanted), true);
    }, height);
    await eventually(`${height} lines`, () => page.evaluate((wanted) => {
      const element = document.querySelector('video');
      return Math.min(element.videoWidth, element.videoHeight) === wanted && element.currentTime > 2;
    }, height), 30_000);
  }
  await page.evaluate(() => window.player.selectTextTrack(window.player.getTextTracks().find(({ language }) => language === 'en')));
  await page.evaluate(() => { document.querySelector('video').currentTime = 5; });
  await eventually('a text', () => page.evaluate(() => [...document.querySelector('video').textTracks].some(({ cues }) => [...cues ?? []].some(({ text }) => /ridges/.test(text)))), 20_000);
  const end = await shaka();
  assert.deepEqual([end.faults, end.stalls], [[], 0]);
  assert.ok(Math.abs(end.duration - 12) < 0.2, `duration ${end.duration}`);
  assert.ok(end.dropped <= Math.max(5, end.frames * 0.25), `${end.dropped} of ${end.frames} frames dropped`);
  await shot('dash');
});
