// The dialog for one item: every size the gallery might ask for, measured, with the headers of each answer.

import { assetUrl, bytes, clock, imageUrl, millis, playerUrl, posterUrl } from './units.js';
import { badge, load } from './verdict.js';

const dialog = document.querySelector('#details');
let leaving = new AbortController();

dialog.addEventListener('close', () => leaving.abort());
// A click beside the panel lands on the dialog itself, its backdrop.
dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());

/** What is worth comparing, smallest first. */
function requestsFor(item) {
  if (item.kind === 'video') {
    const seconds = item.duration ?? 4;
    return [
      ...[320, 640, 1280].map((width) => ({ label: `Poster ${width} px`, url: posterUrl(item.path, width) })),
      { label: `Poster at ${clock(seconds / 2)}`, url: posterUrl(item.path, 640, Math.floor(seconds / 2)) },
      { label: 'HLS playlist', url: `${assetUrl(item.path)}/master.m3u8` },
      { label: 'First 64 KiB', url: assetUrl(item.path), headers: { Range: 'bytes=0-65535' } },
      { label: 'Last 64 KiB', url: assetUrl(item.path), headers: { Range: 'bytes=-65536' } },
    ];
  }
  return [
    ...[160, 320, 640, 1280].map((width) => ({ label: `WebP ${width} px`, url: imageUrl(item.path, width) })),
    { label: 'JPEG 640 px', url: imageUrl(item.path, 640, 'jpg') },
    { label: 'Original', url: assetUrl(item.path) },
  ];
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function openDetails(item) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const isVideo = item.kind === 'video';
  const title = item.title || item.path;

  const preview = element('img', { className: 'preview', alt: title });
  preview.src = isVideo ? posterUrl(item.path, 1280) : imageUrl(item.path, 1280);
  if (item.width && item.height) {
    preview.width = item.width;
    preview.height = item.height;
  }
  const body = element('tbody');
  const headers = element('dl', { className: 'headers' });
  const rows = requestsFor(item).map((request) => row(request, headers, signal));
  body.append(...rows.map(({ line }) => line));

  const again = element('button', { type: 'button', className: 'button strong', textContent: 'Reload all' });
  again.addEventListener('click', () => measureAll());
  const close = element('button', { type: 'button', className: 'button', textContent: 'Close' });
  close.addEventListener('click', () => dialog.close());
  const links = element('p', { className: 'links' });
  if (isVideo) links.append(element('a', { className: 'button', href: playerUrl(item.path), textContent: 'Play' }));
  links.append(element('a', { className: 'button', href: assetUrl(item.path), textContent: 'Original' }), again, close);

  const facts = [item.path, item.width && `${item.width} × ${item.height}`, clock(item.duration), item.note].filter(Boolean).join(' · ');
  dialog.replaceChildren(element('div', { className: 'panel' },
    preview,
    element('div', { className: 'panel-body' },
      element('h2', { id: 'details-title', textContent: title }),
      element('p', { className: 'quiet', textContent: facts }),
      links,
      element('div', { className: 'scroll' }, element('table', { className: 'table' },
        element('thead', {}, element('tr', {}, ...['Answer', 'What', 'Size', 'Time', ''].map((text, i) =>
          element('th', { scope: 'col', className: i === 2 || i === 3 ? 'number' : '', textContent: text })))),
        body)),
      element('h3', { textContent: 'Headers' }),
      headers)));
  dialog.showModal();
  close.focus();

  async function measureAll() {
    again.disabled = true;
    // One after another: times of requests that share the line would say little.
    for (const { measure } of rows) {
      if (signal.aborted) return;
      await measure();
    }
    again.disabled = false;
  }
  measureAll().then(() => signal.aborted || rows[0].select());
}

function row({ label, url, headers: sent }, shown, signal) {
  const verdict = element('td'), size = element('td', { className: 'number' }), time = element('td', { className: 'number' });
  const name = element('button', { type: 'button', className: 'text-button', textContent: label, title: 'Show the headers' });
  const again = element('button', { type: 'button', className: 'text-button', textContent: '↻', title: 'Reload' });
  again.setAttribute('aria-label', `Reload ${label}`);
  const line = element('tr', {}, verdict, element('td', {}, name), size, time, element('td', { className: 'number' }, again));
  let latest = null;

  const select = () => {
    if (!latest) return;
    for (const other of line.parentElement.children) other.classList.toggle('selected', other === line);
    shown.replaceChildren(
      element('div', {}, element('dt', { textContent: 'GET' }), element('dd', {}, element('a', { href: url, textContent: url }), ` → ${latest.status}`)),
      ...latest.verdict.headers.map(([key, value]) => element('div', {}, element('dt', { textContent: key }), element('dd', { textContent: value }))));
  };
  const measure = async () => {
    verdict.textContent = '…';
    try {
      latest = await load(url, { headers: sent, signal });
      verdict.replaceChildren(badge(latest.verdict, latest.status));
      size.textContent = bytes(latest.bytes);
      time.textContent = millis(latest.ms);
    } catch {
      if (!signal.aborted) verdict.replaceChildren(badge({ word: '', age: NaN }, 599));
    }
  };
  name.addEventListener('click', select);
  again.addEventListener('click', async () => {
    await measure();
    select();
  });
  return { line, measure, select };
}
