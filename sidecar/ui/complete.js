// Suggestions while an expression is typed: metrics with their help, functions, labels and their values. A list that belongs to the text, as
// ARIA describes it: arrows choose, Tab or Enter takes, Escape closes.

import * as api from './api.js';
import { box, el } from './dom.js';
import { durations, fitting, ranked, situation } from './promql.js';

const MOST = 40;
const FRESH_MS = 60_000;
/** Of a histogram three series can be asked for, while its metadata name it once. */
const ENDS = /_(bucket|sum|count)$/;

const kept = new Map();

/** Asked once a minute; what fails is no suggestion. */
function remembered(key, ask) {
  const found = kept.get(key);
  if (found && Date.now() - found.at < FRESH_MS) return found.value;
  const value = ask().catch(() => { kept.delete(key); return []; });
  kept.set(key, { at: Date.now(), value });
  if (kept.size > 100) kept.delete(kept.keys().next().value);
  return value;
}

async function metrics() {
  const [names, described] = await Promise.all([remembered('names', () => api.values('__name__')), remembered('metadata', () => api.metadata())]);
  return new Map(names.map((name) => [name, described[name]?.[0] ?? described[name.replace(ENDS, '')]?.[0] ?? {}]));
}

async function suggestions(where) {
  const { kind, typed, metric, label } = where;
  if (kind === 'duration') return durations(typed);
  if (kind === 'word') return typed ? fitting(typed, await metrics()) : [];
  if (kind === 'label') {
    const names = await remembered(`labels ${metric}`, () => api.names(metric));
    return ranked(names.filter((name) => name !== '__name__').map((text) => ({ text, insert: text, note: 'label', kind: 'l' })), typed);
  }
  const values = await remembered(`values ${label} ${metric}`, () => api.values(label, metric));
  return ranked(values.map((text) => ({ text, insert: text, note: label, kind: '=' })), typed);
}

/** Attaches to a textarea; `list` is where suggestions appear. Returns {isOpen, close}. */
export function complete(field, list) {
  let words = [];
  let chosen = -1;
  let where = null;
  let turn = 0;
  list.className = 'suggestions';
  list.setAttribute('role', 'listbox');
  list.setAttribute('aria-label', 'Suggestions');
  list.hidden = true;
  for (const [name, value] of Object.entries({ 'aria-autocomplete': 'list', 'aria-controls': list.id, 'aria-haspopup': 'listbox' })) field.setAttribute(name, value);

  function close() {
    turn += 1;
    words = [];
    list.hidden = true;
    field.removeAttribute('aria-activedescendant');
  }

  function choose(at) {
    chosen = (at + words.length) % words.length;
    [...list.children].forEach((item, place) => item.setAttribute('aria-selected', String(place === chosen)));
    const item = list.children[chosen];
    field.setAttribute('aria-activedescendant', item.id);
    item.scrollIntoView({ block: 'nearest' });
  }

  function take(at) {
    const { insert } = words[at];
    const end = field.selectionStart;
    // What closes by itself is not written twice.
    const rest = field.value.slice(end);
    const text = rest.startsWith(insert.at(-1)) && /[(\]]$/.test(insert) ? insert.slice(0, -1) : insert;
    field.setRangeText(text, where.from, end, 'end');
    close();
    field.dispatchEvent(new Event('input', { bubbles: true }));
  }

  async function look() {
    where = situation(field.value, field.selectionStart);
    if (!where || field.selectionStart !== field.selectionEnd) return close();
    const mine = ++turn;
    const found = (await suggestions(where)).slice(0, MOST);
    if (mine !== turn || document.activeElement !== field) return;
    // What is there already needs no suggestion.
    if (!found.length || (found.length === 1 && found[0].text === where.typed)) return close();
    words = found;
    list.replaceChildren(...found.map(({ text, note, kind }, at) => {
      const item = box('li', 'suggestion', box('span', 'suggestion-kind', kind), box('span', 'mono', text), el('span', 'quiet suggestion-note', note));
      item.id = `${list.id}-${at}`;
      item.setAttribute('role', 'option');
      item.addEventListener('pointerdown', (event) => { event.preventDefault(); take(at); });
      return item;
    }));
    list.hidden = false;
    choose(0);
  }

  field.addEventListener('input', (event) => { if (event.isTrusted || event.inputType) look(); });
  field.addEventListener('blur', close);
  field.addEventListener('keydown', (event) => {
    if (event.ctrlKey && event.key === ' ') { event.preventDefault(); look(); return; }
    if (list.hidden) return;
    const act = { ArrowDown: () => choose(chosen + 1), ArrowUp: () => choose(chosen - 1), Enter: () => take(chosen), Tab: () => take(chosen), Escape: close }[event.key];
    if (!act || (event.key === 'Enter' && event.ctrlKey)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    act();
  });
  return { close };
}
