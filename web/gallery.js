// The gallery page: lists what index.json names, loads each thumbnail once, and says how it came.

import { bytes, clock, imageUrl, millis, playerUrl, posterUrl, widthFor } from './units.js';
import { badge, load } from './verdict.js';
import { openDetails } from './details.js';

const gallery = document.querySelector('#gallery');
const summary = document.querySelector('#summary');
const reloadAll = document.querySelector('#reload');

/** One per card that has been loaded; the summary adds them up. */
const results = new Map();
/** Cards are loaded a little before they scroll into view. */
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    show(target);
  }
}, { rootMargin: '600px 0px' });

const cards = new Map();

async function start() {
  let index;
  try {
    const response = await fetch('/index.json');
    if (response.status === 404) return empty('The origin has no index.json.');
    if (!response.ok) return empty(`index.json could not be fetched: the server answered ${response.status}.`);
    index = await response.json();
  } catch (error) {
    return empty(error instanceof SyntaxError ? 'index.json is not valid JSON.' : 'The server cannot be reached.');
  }
  const items = (Array.isArray(index?.items) ? index.items : []).filter((item) => typeof item?.path === 'string');
  if (items.length === 0) return empty('index.json lists no items.');
  if (index.title) document.querySelector('#title').textContent = document.title = index.title;
  gallery.append(...items.map(card));
}

function empty(reason) {
  document.querySelector('#empty').hidden = false;
  document.querySelector('#empty-reason').textContent = reason;
  document.querySelector('#title').hidden = true;
  reloadAll.hidden = true;
}

function card(item) {
  const ratio = item.width > 0 && item.height > 0 ? item.width / item.height : 1.5;
  const title = item.title || item.path;
  const isVideo = item.kind === 'video';

  const figure = document.createElement('figure');
  figure.className = 'card';
  // Rows fill the width: each card grows and starts in proportion to its shape.
  figure.style.setProperty('--ratio', ratio.toFixed(4));

  const link = document.createElement('a');
  link.className = 'thumb';
  link.href = isVideo ? playerUrl(item.path) : imageUrl(item.path, 1920);
  link.setAttribute('aria-label', isVideo ? `Play ${title}` : `Details of ${title}`);
  const image = document.createElement('img');
  image.alt = title;
  image.decoding = 'async';
  const corner = document.createElement('span');
  corner.className = 'corner';
  link.append(image, corner);
  if (isVideo) {
    const play = document.createElement('span');
    play.className = 'play';
    play.textContent = clock(item.duration) || 'video';
    link.append(play);
  } else {
    link.addEventListener('click', (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      openDetails(item);
    });
  }

  const caption = document.createElement('figcaption');
  const name = document.createElement('span');
  name.className = 'name';
  name.textContent = title;
  const details = document.createElement('button');
  details.type = 'button';
  details.className = 'text-button';
  details.textContent = 'Details';
  details.setAttribute('aria-label', `Details of ${title}`);
  details.addEventListener('click', () => openDetails(item));
  const note = document.createElement('span');
  note.className = 'note';
  note.textContent = [item.width && `${item.width} × ${item.height}`, item.note].filter(Boolean).join(' · ');
  caption.append(name, note, details);

  figure.append(link, caption);
  cards.set(figure, { item, image, corner });
  near.observe(figure);
  return figure;
}

async function show(figure) {
  const { item, image, corner } = cards.get(figure);
  const width = widthFor(image.clientWidth || 320, item.width || Infinity);
  const url = item.kind === 'video' ? posterUrl(item.path, width, Math.min(2, (item.duration ?? 4) / 2)) : imageUrl(item.path, width);
  figure.dataset.state = 'loading';
  try {
    const result = await load(url);
    corner.replaceChildren(badge(result.verdict, result.status));
    results.set(figure, result);
    if (!result.ok) throw new Error(`${result.status}`);
    const old = image.src;
    image.src = URL.createObjectURL(result.blob);
    await image.decode();
    if (old.startsWith('blob:')) URL.revokeObjectURL(old);
    figure.dataset.state = 'shown';
  } catch {
    figure.dataset.state = 'failed';
    if (!corner.firstChild) corner.replaceChildren(badge({ word: '', age: NaN }, 599));
  }
  summarize();
}

function summarize() {
  const loaded = [...results.values()];
  const of = (word) => loaded.filter((result) => result.ok && result.verdict.word === word).length;
  const counts = [[of('HIT'), 'hit'], [of('MISS'), 'miss'], [of('STALE'), 'stale'], [of('REVALIDATED'), 'revalidated'], [of('BYPASS'), 'bypassed'], [loaded.filter((result) => !result.ok).length, 'failed']]
    .filter(([count]) => count > 0).map(([count, word]) => `${count} ${word}`);
  const times = loaded.map((result) => result.ms).sort((a, b) => a - b);
  const size = loaded.reduce((sum, result) => sum + result.bytes, 0);
  summary.textContent = [`${loaded.length} thumbnails`, ...counts, bytes(size), `median ${millis(times[times.length >> 1])}`].join(' · ');
}

reloadAll.addEventListener('click', async () => {
  reloadAll.disabled = true;
  const shown = [...results.keys()];
  results.clear();
  await Promise.all(shown.map(show));
  reloadAll.disabled = false;
});

start();
