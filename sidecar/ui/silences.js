// Silences: a form that shows what it would hold back before it does, and the list of those in force.

import * as api from './api.js';
import { announce, box, button, dot, el, field, input, nothing, select, table } from './dom.js';
import { moment, plural, span } from './format.js';
import { matchers, written } from './promql.js';

const LENGTHS = [['30 minutes', 1800], ['1 hour', 3600], ['4 hours', 14_400], ['1 day', 86_400], ['1 week', 604_800]];
const PREVIEW_MS = 250;

/** A place for the token, shown once the sidecar has asked for it. */
export function tokenField() {
  const token = input('password', { autocomplete: 'off' });
  const made = field('Token', token, 'Changes from another machine want the sidecar’s http.token.');
  made.hidden = true;
  return { made, token, ask: (error) => { if (error.status === 403) { made.hidden = false; token.focus(); } } };
}

function preview(place, text) {
  let wanted;
  try {
    wanted = matchers(text);
  } catch (error) {
    place.replaceChildren(el('p', 'fault', error.message));
    return Promise.resolve();
  }
  return api.alerts(wanted.map(written).join(',')).then((found) => {
    const rows = found.slice(0, 8).map((alert) => {
      const { alertname, severity, ...rest } = alert.labels;
      const state = alert.status.state;
      return box('li', '', dot(state === 'unprocessed' ? 'warn' : state === 'active' ? 'bad' : ''), box('strong', '', alertname), ` ${severity ?? ''} `,
        el('span', 'mono quiet', Object.values(rest).join(' ')), state === 'suppressed' ? el('span', 'quiet', ' (held back already)') : state === 'unprocessed' ? el('span', 'quiet', ' (pending)') : '');
    });
    if (found.length > 8) rows.push(el('li', 'quiet', `and ${found.length - 8} more`));
    place.replaceChildren(el('p', '', found.length ? `Holds back ${plural(found.length, 'alert')} now:` : 'Matches no alert that is active now; it will hold back those to come.'), box('ul', 'plain', ...rows));
  }, (error) => place.replaceChildren(el('p', 'fault', error.message)));
}

/** Opens the form; `labels` are those of the alert it is about, if any. */
export function silenceDialog(labels, done) {
  const dialog = el('dialog', 'dialog is-wide');
  const heading = el('h2', '', 'New silence');
  heading.id = 'silence-title';
  dialog.setAttribute('aria-labelledby', heading.id);
  const what = el('textarea', 'mono');
  what.rows = 4;
  what.spellcheck = false;
  what.required = true;
  what.value = Object.entries(labels ?? {}).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join('\n');
  const length = select(LENGTHS);
  length.value = '3600';
  const why = input('text', { required: '', autocomplete: 'off' });
  const by = input('text', { required: '', autocomplete: 'username' });
  try { by.value = localStorage.getItem('name') ?? ''; } catch { /* Asked for each time, then. */ }
  const token = tokenField();
  const seen = el('div', 'preview');
  seen.setAttribute('aria-live', 'polite');
  const fault = el('p', 'fault');
  fault.setAttribute('role', 'alert');
  const submit = button('is-primary', 'Silence');
  submit.type = 'submit';
  const form = box('form', 'form',
    field('Matchers, all of which an alert must fit', what, 'One a line: name="value", name!="value", name=~"pattern", name!~"pattern".'), seen,
    box('div', 'form-row', field('For', length), field('Your name', by)), field('Why', why), token.made, fault,
    box('div', 'actions', button('', 'Cancel', () => dialog.close()), submit));
  dialog.append(heading, form);

  let timer = 0;
  const look = () => { clearTimeout(timer); timer = setTimeout(() => preview(seen, what.value), PREVIEW_MS); };
  what.addEventListener('input', look);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    fault.textContent = '';
    const now = Date.now();
    try {
      const silence = { matchers: matchers(what.value), startsAt: new Date(now).toISOString(), endsAt: new Date(now + length.value * 1000).toISOString(), createdBy: by.value, comment: why.value };
      await api.addSilence(silence, token.token.value);
      try { localStorage.setItem('name', by.value); } catch { /* As above. */ }
      dialog.close();
      announce(`Silenced for ${length.selectedOptions[0].textContent}`);
      done();
    } catch (error) {
      token.ask(error);
      fault.textContent = error.message;
    }
  });
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  (labels ? why : what).focus();
  preview(seen, what.value);
}

async function end(silence, done) {
  try {
    await api.endSilence(silence.id);
    announce('The silence has ended');
    done();
  } catch (error) {
    announce(error.status === 403 ? `${error.message}. Open “New silence”, and the token is asked for there.` : error.message, 'bad');
  }
}

/** Those in force and to come, and on demand those of the last days. */
export function silenceList(silences, now, done) {
  const current = silences.filter((silence) => silence.status.state !== 'expired');
  const past = silences.filter((silence) => silence.status.state === 'expired').sort((a, b) => b.endsAt.localeCompare(a.endsAt)).slice(0, 20);
  const row = (silence) => {
    const { state } = silence.status;
    const left = span(Math.max(0, (Date.parse(silence.endsAt) - now) / 1000));
    const stop = state === 'expired' ? null : button('', 'End', () => end(silence, done));
    if (stop) stop.dataset.id = silence.id;
    stop?.setAttribute('aria-label', `End the silence for ${silence.matchers.map(written).join(', ')}`);
    return [box('span', 'state', dot({ active: 'good', pending: 'warn' }[state]), state), silence.matchers.map(written).join(', '),
      state === 'expired' ? moment(Date.parse(silence.endsAt), now) : `${left} more`, silence.createdBy, silence.comment, stop];
  };
  const columns = [{ title: 'State', label: '' }, { title: 'Holds back', className: 'mono wrap wide', label: '' }, { title: 'Ends', label: 'ends' }, { title: 'By', label: 'by' }, { title: 'Why', className: 'wrap', label: '' }, { title: '', className: 'number', label: '' }];
  const parts = [current.length ? table('Silences', columns, current.map(row)) : nothing('Nothing is silenced')];
  if (past.length) parts.push(box('details', 'more', el('summary', '', `${plural(past.length, 'silence')} of the last days`), table('Past silences', columns, past.map(row))));
  return parts;
}
