// Uploads as a person makes them: the page in a real Chromium, against the real server.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

import { secret, serve, token } from '../access.mjs';
import { binary, root } from '../processes.mjs';
import { eventually, screenshots } from './servers.mjs';

const key = secret();
const program = binary('millrace', 'debug');
let scratch, server, browser, site, film, picture;

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'millrace-upload-page-'));
  film = join(scratch, 'holiday film.mp4');
  picture = join(scratch, 'picture.jpg');
  const ffmpeg = (...args) => execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-y', ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
  ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=640x360:rate=25:duration=6', '-f', 'lavfi', '-i', 'sine=duration=6', '-pix_fmt', 'yuv420p', '-b:v', '4M',
    '-minrate', '4M', '-maxrate', '4M', '-bufsize', '1M', '-x264-params', 'nal-hrd=cbr', '-c:a', 'aac', '-shortest', film);
  ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=800x600', '-frames:v', '1', picture);
  server = await serve(program, key, ['--data-dir', join(scratch, 'data'), '--disk', '0', '--memory', '64MiB']);
  site = `http://127.0.0.1:${server.port}`;
  browser = await chromium.launch({
    executablePath: execFileSync(join(root, 'scripts/find-chromium.sh'), { encoding: 'utf8' }).trim(),
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--mute-audio', '--autoplay-policy=no-user-gesture-required'],
  });
});

after(async () => {
  await browser?.close();
  await server?.kill('SIGTERM');
  rmSync(scratch, { recursive: true, force: true });
});

async function open(context, complaints) {
  const page = await context.newPage();
  // What the server refuses the browser logs too; the page has to show it.
  page.on('console', (message) => message.type() === 'error' && !/status of 40[13]/.test(message.text()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(`${site}/_millrace/upload`);
  return page;
}

const shot = (page, name) => page.screenshot({ path: join(screenshots, `upload-${name}.png`), fullPage: true });
const state = (page) => page.locator('.item').first().getAttribute('data-state');

test('a film is uploaded, paused, gone on with after a reload, and plays', { timeout: 180_000 }, async () => {
  const complaints = [];
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 } });
  let page = await open(context, complaints);
  await page.setInputFiles('#files', film);
  await eventually('refused without a token', async () => (await state(page)) === 'failed');
  assert.match(await page.locator('.wrong').textContent(), /token is missing/);
  assert.equal(await page.locator('#token').getAttribute('aria-invalid'), 'true');
  await shot(page, 'refused');

  await page.fill('#folder', 'films');
  await page.getByRole('button', { name: 'Remove holiday film.mp4 from the list' }).click();
  await page.fill('#token', token(program, key, '--scope', 'upload'));
  const network = await context.newCDPSession(page);
  const slow = { offline: false, latency: 20, downloadThroughput: -1, uploadThroughput: 400_000 };
  await network.send('Network.emulateNetworkConditions', slow);
  await page.setInputFiles('#files', film);
  const share = () => page.locator('progress').evaluate((bar) => bar.value);
  await eventually('progress', async () => (await share()) > 0.15 && (await share()) < 0.9);
  await shot(page, 'running');
  await page.getByRole('button', { name: 'Pause films/holiday film.mp4' }).click();
  assert.match(await page.locator('.note').textContent(), /Paused at \d+ %/);

  // Another visit: the same file goes on from what the server has.
  await page.close();
  page = await open(context, complaints);
  await page.fill('#token', token(program, key, '--scope', 'upload'));
  await page.fill('#folder', 'films');
  const offsets = [];
  page.on('request', (request) => request.method() === 'PATCH' && offsets.push(Number(request.headers()['upload-offset'])));
  await page.setInputFiles('#files', film);
  await eventually('stored', async () => (await state(page)) === 'done', 60_000);
  assert.ok(offsets[0] > 0, `it went on at ${offsets[0]}`);
  await eventually('a summary', async () => (await page.locator('#summary').textContent()) === '1 stored');
  const video = page.locator('.shown video');
  const at = await video.evaluate(async (element) => {
    await element.play();
    await new Promise((resolve) => { element.addEventListener('timeupdate', () => element.currentTime > 0.5 && resolve()); });
    return [element.currentTime, element.videoWidth, element.error];
  });
  assert.ok(at[0] > 0.5 && at[1] === 640 && at[2] === null, String(at));
  await shot(page, 'done');
  const stored = await (await fetch(`${site}/assets/films/holiday%20film.mp4`)).arrayBuffer();
  assert.equal(stored.byteLength, statSync(film).size);
  assert.deepEqual(complaints, []);
  // And as a stream.
  await page.getByRole('link', { name: 'Play as a stream' }).click();
  await page.waitForURL(/_millrace\/player/);
  await eventually('the stream plays', () => page.locator('#video').evaluate((element) => element.currentTime > 0.3), 60_000);
  await context.close();
});

test('pictures are dropped; it is good to use on a phone, in the dark', { timeout: 60_000 }, async () => {
  const complaints = [];
  const context = await browser.newContext({ viewport: { width: 390, height: 800 }, colorScheme: 'dark' });
  const page = await open(context, complaints);
  await shot(page, 'phone-empty');
  await page.fill('#token', token(program, key, '--scope', 'upload'));
  const bytes = execFileSync('base64', ['-w0', picture], { encoding: 'utf8' });
  const data = await page.evaluateHandle((text) => {
    const transfer = new DataTransfer();
    const content = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    transfer.items.add(new File([content], 'dropped.jpg', { type: 'image/jpeg' }));
    transfer.items.add(new File(['<html><script>'], 'a rather long name of a page that nobody wants to have here.html', { type: 'text/html' }));
    return transfer;
  }, bytes);
  await page.dispatchEvent('#drop', 'drop', { dataTransfer: data });
  await eventually('stored', async () => (await state(page)) === 'done');
  await eventually('the picture', () => page.locator('.shown img').evaluate((image) => image.complete && image.naturalWidth === 640));
  const second = page.locator('.item').nth(1);
  await eventually('refused', async () => (await second.getAttribute('data-state')) === 'failed');
  assert.match(await second.locator('.wrong').textContent(), /text\/html is not taken/);
  await shot(page, 'phone');
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `${width} px wide`);
  // All controls have names, and can be reached by the keyboard.
  const nameless = await page.evaluate(() => [...document.querySelectorAll('button, a, input, progress')]
    .filter((element) => !(element.getAttribute('aria-label') || element.textContent.trim() || element.labels?.length)).length);
  assert.equal(nameless, 0);
  await page.locator('#folder').focus();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'files');
  assert.deepEqual(complaints.filter((text) => !/status of 415/.test(text)), []);
  await context.close();
});
