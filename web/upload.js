// The upload page: files go up in pieces (tus 1.0), can be paused, and go on after a lost connection or a closed tab.

import { assetUrl, bytes, playerUrl } from './units.js';

/** Sent in one request; what a request has brought is kept when the next one fails. */
const PIECE = 32 << 20;
/** At a time; others wait. */
const AT_A_TIME = 3;
/** Seconds before it is tried again; the last one from then on. */
const PAUSES = [1, 2, 4, 8, 15];
/** Without any progress in between. */
const MOST_TRIES = 20;

const $ = (id) => document.getElementById(id);
const token = $('token'), folder = $('folder'), files = $('files'), drop = $('drop'), list = $('list');
const uploads = [];

/** What the server refuses for good, whatever is tried. */
class Refused extends Error {}

class Upload {
  constructor(file, key) {
    Object.assign(this, { file, key, offset: 0, state: 'waiting', url: localStorage.getItem(memo(file, key)), request: null, tries: 0, turn: 0 });
    this.view = $('item').content.firstElementChild.cloneNode(true);
    this.part('.name').textContent = key;
    this.part('.name').title = key;
    this.part('.pause').addEventListener('click', () => this.toggle());
    this.part('.cancel').addEventListener('click', () => this.remove());
    this.part('progress').setAttribute('aria-label', `Progress of ${key}`);
    list.append(this.view);
    this.show();
  }

  part(selector) {
    return this.view.querySelector(selector);
  }

  enter(state, wrong = '') {
    this.state = state;
    this.wrong = wrong;
    this.show();
    summarise();
  }

  show() {
    const { file, offset, state } = this;
    this.view.dataset.state = state;
    this.part('progress').value = state === 'done' ? 1 : file.size ? offset / file.size : 0;
    const share = file.size ? Math.floor((100 * offset) / file.size) : 0;
    this.part('.note').textContent = {
      waiting: `${bytes(file.size)}, waiting`,
      running: `${bytes(offset)} of ${bytes(file.size)}, ${share} %${this.rate ? `, ${bytes(this.rate)}/s` : ''}`,
      finishing: 'All there; being stored …',
      paused: `Paused at ${share} %`,
      retrying: `Connection lost at ${share} %; trying again …`,
      failed: `Stopped at ${share} %`,
      done: `${bytes(file.size)}, stored`,
    }[state];
    const wrong = this.part('.wrong');
    wrong.textContent = this.wrong ?? '';
    wrong.hidden = !this.wrong;
    const pause = this.part('.pause');
    pause.hidden = state === 'done' || state === 'finishing';
    pause.textContent = { paused: 'Resume', failed: 'Try again' }[state] ?? 'Pause';
    pause.setAttribute('aria-label', `${pause.textContent} ${this.key}`);
    this.part('.cancel').setAttribute('aria-label', `Remove ${this.key} from the list`);
  }

  toggle() {
    if (this.state === 'paused' || this.state === 'failed') {
      this.tries = 0;
      this.enter('waiting');
      next();
    } else {
      this.enter('paused');
      this.halt();
      next();
    }
  }

  /** Whatever is under way is over. */
  halt() {
    this.turn += 1;
    this.request?.abort();
    this.wake?.();
  }

  remove() {
    const unfinished = this.url && this.state !== 'done';
    this.enter('gone');
    this.halt();
    if (unfinished) {
      localStorage.removeItem(memo(this.file, this.key));
      send('DELETE', this.url, {}).catch(() => {});
    }
    uploads.splice(uploads.indexOf(this), 1);
    this.view.remove();
    summarise();
    next();
  }

  get active() {
    return this.state === 'running' || this.state === 'retrying' || this.state === 'finishing';
  }

  async run() {
    const turn = this.turn;
    this.enter('running');
    while (this.turn === turn) {
      try {
        await this.advance(turn);
        return;
      } catch (error) {
        if (this.turn !== turn) return;
        if (error instanceof Refused || ++this.tries >= MOST_TRIES) {
          this.turn += 1;
          this.enter('failed', error.message);
          if (error.status === 401 || error.status === 403) askForToken();
          return;
        }
        this.enter('retrying', error.message);
        const pause = error.after ?? PAUSES[Math.min(this.tries, PAUSES.length) - 1];
        await new Promise((resolve) => {
          this.wake = resolve;
          setTimeout(resolve, pause * 1000);
        });
        if (this.turn === turn) this.enter('running');
      }
    }
  }

  /** From where the server is to the end. */
  async advance(turn) {
    await this.locate();
    let path = null;
    do {
      const from = this.offset;
      const piece = this.file.slice(from, from + PIECE);
      const began = performance.now();
      const fields = { 'Upload-Offset': String(from), 'Content-Type': 'application/offset+octet-stream' };
      const answer = await send('PATCH', this.url, fields, piece, this, (sent) => {
        this.offset = from + sent;
        this.rate = (1000 * sent) / Math.max(1, performance.now() - began);
        if (this.turn !== turn) return;
        if (this.offset === this.file.size && this.state === 'running') this.state = 'finishing';
        this.show();
      });
      this.offset = Number(answer.getResponseHeader('Upload-Offset'));
      path = answer.getResponseHeader('Content-Location');
      this.tries = 0;
      if (this.turn !== turn) return;
    } while (this.offset < this.file.size);
    localStorage.removeItem(memo(this.file, this.key));
    this.enter('done');
    this.present(path ?? assetUrl(`assets/${this.key}`));
  }

  /** Finds out how far it has come, or begins. */
  async locate() {
    if (this.url) {
      try {
        const answer = await send('HEAD', this.url, {}, null, this);
        this.offset = Number(answer.getResponseHeader('Upload-Offset'));
        return;
      } catch (error) {
        // Its time was over, or another server forgot it.
        if (![404, 410].includes(error.status)) throw error;
      }
    }
    const metadata = [['key', this.key], ['filetype', this.file.type]].filter(([, value]) => value);
    const answer = await send('POST', '/files/', {
      'Upload-Length': String(this.file.size),
      'Upload-Metadata': metadata.map(([name, value]) => `${name} ${base64(value)}`).join(','),
    }, null, this);
    this.url = new URL(answer.getResponseHeader('Location'), location.href).pathname;
    this.offset = 0;
    localStorage.setItem(memo(this.file, this.key), this.url);
  }

  /** What has been stored, as it is served. */
  present(path) {
    const shown = this.part('.shown');
    const links = document.createElement('p');
    links.className = 'links';
    const link = (text, href) => links.append(Object.assign(document.createElement('a'), { className: 'button', textContent: text, href }));
    link('Open', path);
    const kind = this.file.type.split('/')[0];
    if (kind === 'video' || kind === 'audio') {
      const player = Object.assign(document.createElement(kind), { controls: true, preload: 'metadata', src: path, playsInline: true });
      player.setAttribute('aria-label', this.key);
      shown.append(player);
      if (kind === 'video') link('Play as a stream', playerUrl(decodeURIComponent(path).slice(1)));
    } else if (kind === 'image') {
      const image = Object.assign(document.createElement('img'), { alt: this.key, src: `${path}?w=640` });
      image.addEventListener('error', () => { image.src = path; }, { once: true });
      shown.append(image);
    }
    shown.append(links);
    shown.hidden = false;
  }
}

/** One request. Resolves with what succeeded; rejects with what is known of a failure. */
function send(method, url, fields, body = null, upload = null, progress = null) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const [name, value] of Object.entries(fields)) request.setRequestHeader(name, value);
    request.setRequestHeader('Tus-Resumable', '1.0.0');
    if (token.value) request.setRequestHeader('Authorization', `Bearer ${token.value.trim()}`);
    if (progress) request.upload.addEventListener('progress', (event) => progress(event.loaded));
    request.addEventListener('load', () => {
      if (request.status >= 200 && request.status < 300) return resolve(request);
      // What may be otherwise a little later.
      const passing = [408, 409, 423, 429].includes(request.status) || (request.status >= 500 && request.status !== 507);
      const error = new (passing ? Error : Refused)(reason(request));
      error.status = request.status;
      const after = Number(request.getResponseHeader('Retry-After'));
      if (after > 0) error.after = after;
      return reject(error);
    });
    request.addEventListener('error', () => reject(new Error('The server cannot be reached.')));
    request.addEventListener('abort', () => reject(new Error('Stopped.')));
    if (upload) upload.request = request;
    request.send(body);
  });
}

function reason(request) {
  const words = { 401: 'The token is missing or not valid.', 403: 'The token does not allow this.' }[request.status];
  try {
    const { detail } = JSON.parse(request.responseText);
    return words ? `${words}${token.value ? ` (${detail})` : ''}` : `${detail[0].toUpperCase()}${detail.slice(1)}.`;
  } catch {
    return words ?? `The server answered ${request.status}.`;
  }
}

const memo = (file, key) => `millrace-upload ${key} ${file.size} ${file.lastModified}`;
const base64 = (text) => btoa(String.fromCodePoint(...new TextEncoder().encode(text)));

function askForToken() {
  token.setAttribute('aria-invalid', 'true');
  token.focus();
}

function next() {
  for (const upload of uploads) {
    if (uploads.filter((other) => other.active).length >= AT_A_TIME) return;
    if (upload.state === 'waiting') upload.run().finally(next);
  }
}

function add(chosen) {
  const below = folder.value.trim().replace(/^\/+|\/+$/g, '');
  for (const file of chosen) {
    const key = below ? `${below}/${file.name}` : file.name;
    if (uploads.some((other) => other.key === key && other.state !== 'done')) continue;
    uploads.push(new Upload(file, key));
  }
  summarise();
  next();
}

function summarise() {
  const count = (...states) => uploads.filter((upload) => states.includes(upload.state)).length;
  const words = [
    [count('running', 'retrying', 'finishing'), 'uploading'], [count('waiting'), 'waiting'], [count('paused'), 'paused'],
    [count('failed'), 'failed'], [count('done'), 'stored'],
  ];
  $('summary').textContent = words.filter(([number]) => number).map(([number, word]) => `${number} ${word}`).join(', ');
}

token.value = sessionStorage.getItem('millrace-token') ?? '';
token.addEventListener('input', () => {
  token.removeAttribute('aria-invalid');
  sessionStorage.setItem('millrace-token', token.value);
});
$('where').addEventListener('submit', (event) => event.preventDefault());
files.addEventListener('change', () => {
  add([...files.files]);
  files.value = '';
});
for (const kind of ['dragenter', 'dragover']) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.dataset.over = '';
  });
}
for (const kind of ['dragleave', 'drop']) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    if (kind === 'drop' || !event.relatedTarget) delete drop.dataset.over;
  });
}
document.addEventListener('drop', (event) => add([...(event.dataTransfer?.files ?? [])]));
addEventListener('beforeunload', (event) => {
  if (uploads.some((upload) => upload.active)) event.preventDefault();
});
