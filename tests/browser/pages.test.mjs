// What a person sees: gallery, player and dashboard in a real Chromium, against the real binaries.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { chromium } from 'playwright-core';

import { root } from '../processes.mjs';
import { eventually, screenshots, startFleet } from './servers.mjs';

let fleet, browser, page, complaints, index;

before(async () => {
  fleet = await startFleet();
  index = JSON.parse(readFileSync(join(fleet.library, 'index.json'), 'utf8'));
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
  page = await open(1280, 800);
});

afterEach(async () => {
  await page.close();
  assert.deepEqual(complaints, [], 'no error on the console, no violation of the content security policy');
});

async function open(width, height, options = {}) {
  const opened = await browser.newPage({ viewport: { width, height }, ...options });
  opened.on('console', (message) => {
    if (message.type() === 'error' || /Content Security Policy/i.test(message.text())) complaints.push(message.text());
  });
  opened.on('pageerror', (error) => complaints.push(String(error)));
  return opened;
}

/** Waits for every card of the gallery; they load as they come near the screen. */
async function wholeGallery(on = page) {
  await on.goto(fleet.site);
  await on.locator('.card').nth(index.items.length - 1).waitFor({ state: 'attached' });
  for (const card of await on.locator('.card').all()) {
    await card.scrollIntoViewIfNeeded();
    await eventually('a thumbnail', () => card.evaluate((element) => /shown|failed/.test(element.dataset.state ?? '')), 30_000);
  }
  await on.evaluate(() => scrollTo(0, 0));
  return on.locator('.card').evaluateAll((cards) => cards.map((card) => ({
    title: card.querySelector('.name').textContent,
    state: card.dataset.state,
    verdict: card.querySelector('.badge').dataset.verdict,
    width: card.querySelector('img').naturalWidth,
    height: card.querySelector('img').naturalHeight,
  })));
}

const videoState = (on = page) => on.locator('video').evaluate((video) => ({
  time: video.currentTime, paused: video.paused, duration: video.duration, fault: document.querySelector('#fault').textContent,
  dropped: video.getVideoPlaybackQuality().droppedVideoFrames, frames: video.getVideoPlaybackQuality().totalVideoFrames, width: video.videoWidth,
}));

/** Playback has gone on from `from` for at least `seconds`, without a fault. */
const playedOn = (from, seconds) => eventually(`playback from ${from} s`, async () => {
  const state = await videoState();
  assert.equal(state.fault, '');
  return state.time >= from + seconds && state.time < from + seconds + 8 && state;
}, 30_000);

async function seekToMiddle() {
  const middle = (await videoState()).duration / 2;
  await page.locator('video').evaluate((video, to) => { video.currentTime = to; }, middle);
  return playedOn(middle, 1.5);
}

test('the gallery shows every thumbnail, and the second visit hits', async () => {
  const first = await wholeGallery();
  assert.deepEqual(first.map(({ title }) => title), index.items.map(({ title }) => title));
  for (const card of first) {
    assert.equal(card.state, 'shown', card.title);
    assert.ok(card.width > 0 && card.height > 0, card.title);
    assert.equal(card.verdict, 'MISS', `${card.title} at the first visit`);
  }
  const second = await wholeGallery();
  for (const card of second) assert.equal(card.verdict, 'HIT', `${card.title} at the second visit`);
});

test('thumbnails keep the shape of their source, upright where EXIF turns it', async () => {
  const cards = await wholeGallery();
  for (const [i, { path, width, height }] of index.items.entries()) {
    const shape = cards[i].width / cards[i].height;
    assert.ok(Math.abs(shape / (width / height) - 1) < 0.02, `${path}: ${cards[i].width}×${cards[i].height}`);
  }
  const turned = index.items.findIndex(({ path }) => path.includes('turned-by-exif'));
  assert.ok(cards[turned].height > cards[turned].width, 'the turned picture stands upright');
});

test('details say how each size came, and a reload turns a miss into a hit', async () => {
  await page.goto(fleet.site);
  const item = index.items.findIndex(({ path }) => path.includes('desert-progressive'));
  await page.locator('.card').nth(item).locator('.text-button').click();
  const rows = page.locator('dialog tbody tr');
  const verdicts = () => rows.evaluateAll((lines) => lines.map((line) => line.querySelector('.badge')?.dataset.verdict));
  await eventually('all rows', async () => (await verdicts()).every(Boolean) && (await page.locator('.headers div').count()) > 0);
  assert.ok((await verdicts()).includes('MISS'), 'a size that nobody asked for yet');
  await page.locator('dialog .links .strong').click();
  await eventually('hits only', async () => (await verdicts()).every((word) => word === 'HIT'));
  await page.locator('dialog tbody .text-button').first().click();
  const headers = await page.locator('.headers').innerText();
  for (const name of ['X-Cache', 'Cache-Status', 'Age', 'ETag']) assert.match(headers, new RegExp(`${name}\\s`), headers);
  assert.match(headers, /millrace; hit/);
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'hidden' });
});

test('HLS plays, seeks and drops few frames', async () => {
  await page.goto(`${fleet.site}/_millrace/player?src=/videos/dusk-drive.mp4`);
  const begun = await playedOn(0, 2);
  assert.equal(begun.width, index.items.find(({ path }) => path.includes('dusk-drive')).width);
  assert.ok(Math.abs(begun.duration - 12) < 0.2, `duration ${begun.duration}`);
  const sought = await seekToMiddle();
  assert.ok(sought.dropped <= Math.max(5, sought.frames * 0.25), `${sought.dropped} of ${sought.frames} frames dropped`);

  const log = await page.locator('#log tr').evaluateAll((lines) => lines.map((line) => [line.querySelector('.badge').dataset.verdict, line.querySelector('.path').textContent]));
  for (const name of [/master\.m3u8/, /init\.mp4/, /seg-\d+\.m4s/]) assert.ok(log.some(([, path]) => name.test(path)), `${name} in the log`);
  for (const [verdict, path] of log) assert.match(verdict, /HIT|MISS|STALE|REVALIDATED|BROWSER/, path);
  assert.match((await page.locator('#quality option').allInnerTexts()).join(), /Auto.*source/);
});

test('the player obeys its keys', async () => {
  await page.goto(`${fleet.site}/_millrace/player?src=/videos/dusk-drive.mp4`);
  await playedOn(0, 0.3);
  await page.keyboard.press('Space');
  await eventually('a pause', async () => (await videoState()).paused);
  await page.keyboard.press('5');
  await eventually('the middle', async () => Math.abs((await videoState()).time - 6) < 0.5);
  await page.keyboard.press('ArrowLeft');
  await eventually('5 s back', async () => Math.abs((await videoState()).time - 1) < 0.6);
});

test('a file whose index is at the end plays progressively and seeks by ranges', async () => {
  const answers = [];
  page.on('response', (response) => {
    if (new URL(response.url()).pathname.endsWith('aurora-moov-last.mp4')) answers.push(response.status());
  });
  await page.goto(`${fleet.site}/_millrace/player?src=/videos/aurora-moov-last.mp4`);
  await playedOn(0, 0.3);
  await page.getByText('Progressive MP4', { exact: true }).click();
  await page.locator('video').evaluate((video) => { video.currentTime = 0; });
  await playedOn(0, 2);
  await seekToMiddle();
  assert.match(await page.locator('video').evaluate((video) => video.currentSrc), /aurora-moov-last\.mp4$/);
  assert.ok(answers.length > 0 && answers.every((status) => status === 206), `answers ${answers}`);
});

test('without an index the gallery says how to use a path', async () => {
  await page.route('**/index.json', (route) => route.fulfill({ status: 404, body: '' }));
  await page.goto(fleet.site);
  await page.locator('#empty').waitFor();
  await page.locator('#src').fill('/videos/dusk-drive.mp4');
  await page.keyboard.press('Enter');
  await page.waitForURL('**/_millrace/player?src=*');
  await playedOn(0, 0.5);
  // The browser itself reports the 404 that this test asked for.
  complaints = complaints.filter((text) => !/404/.test(text));
});

test('a video that is not there is a sentence, not a blank page', async () => {
  await page.goto(`${fleet.site}/_millrace/player?src=/videos/none.mp4`);
  await page.locator('#fault:visible').waitFor();
  assert.match(await page.locator('#fault').innerText(), /no such video/);
  complaints = complaints.filter((text) => !/404|hls\.js stopped/.test(text));
});

test('the dashboard shows the server up, and its traffic', async () => {
  await eventually('the target up', async () => {
    const { data } = await (await fetch(`${fleet.dashboard}/api/v1/targets`)).json();
    return data.activeTargets.some((target) => target.health === 'up');
  }, 40_000);
  await page.goto(fleet.dashboard);
  await eventually('an up target on the page', async () => /\bup\b/i.test(await page.locator('body').innerText()));
  await eventually('a request rate on the page', async () => {
    for (let i = 0; i < 20; i++) await fetch(`${fleet.site}/photos/planet.png?w=160&fm=webp`).then((response) => response.arrayBuffer());
    return /[1-9][\d.,]*\s*(k\s*)?(req|requests)?\s*\/\s*s/i.test(await page.locator('body').innerText());
  }, 60_000);
});

for (const [width, height] of [[390, 844], [1280, 800]]) {
  test(`pages fit a screen ${width} wide`, async () => {
    const narrow = await open(width, height, { deviceScaleFactor: width < 600 ? 2 : 1 });
    const fits = async (name) => {
      assert.ok(await narrow.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth), `${name} scrolls sideways`);
      await narrow.screenshot({ path: join(screenshots, `${name}-${width}.png`), fullPage: true });
    };
    try {
      await wholeGallery(narrow);
      await fits('gallery');
      await narrow.goto(`${fleet.site}/_millrace/player?src=/videos/dusk-drive.mp4`);
      await eventually('playback', async () => (await videoState(narrow)).time > 1, 30_000);
      await fits('player');
      await narrow.goto(fleet.dashboard);
      await eventually('the dashboard filled', async () => /\bup\b/i.test(await narrow.locator('body').innerText()), 30_000);
      await fits('dashboard');
    } finally {
      await narrow.close();
    }
  });
}
