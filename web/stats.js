// Figures over the picture: what plays, how much is loaded, and how the cache answered for each segment.

import { fromCache } from './verdict.js';

/** Segments shown; the oldest leave first. */
const SEGMENTS = 24;

export class Stats {
  #panel; #fields; #segments = 0; #hits = 0;

  constructor(panel, fields) {
    this.#panel = panel;
    this.#fields = fields;
  }

  toggle() {
    this.#panel.hidden = !this.#panel.hidden;
    return !this.#panel.hidden;
  }

  /** Texts by the name of their field. */
  show(texts) {
    for (const [name, text] of Object.entries(texts)) this.#fields[name].textContent = text;
  }

  /** An answer to any request; of those for segments, the verdict is kept. */
  answered({ path, status, verdict }) {
    const found = /\/([^/]+)\/seg-(\d+)\.m4s/.exec(path);
    if (!found) return;
    const cell = document.createElement('span');
    const failed = status >= 400;
    cell.dataset.verdict = failed ? 'ERROR' : verdict.word || 'NONE';
    cell.textContent = `${/audio/.test(found[1]) ? 'a' : ''}${found[2]}`;
    cell.title = `${found[1]} ${found[2]}: ${failed ? status : verdict.word}`;
    this.#fields.segments.append(cell);
    while (this.#fields.segments.childElementCount > SEGMENTS) this.#fields.segments.firstChild.remove();
    this.#segments++;
    this.#hits += fromCache(verdict) || verdict.word === 'BROWSER' ? 1 : 0;
    this.#fields.hits.textContent = `· ${this.#hits} of ${this.#segments} from a cache`;
  }
}
