// The form for a stretch of time of one's own, to the second, where dragging over a plot is too coarse or too near.

import { box, button, el, field, input } from './dom.js';

/** As `datetime-local` has it: by the clock of whoever looks. */
const written = (seconds) => new Date((seconds - new Date(seconds * 1000).getTimezoneOffset() * 60) * 1000).toISOString().slice(0, 19);
const read = (text) => Math.round(Date.parse(text) / 1000);

/** Opens the form with a stretch to begin with; `chosen({from, to})` in Unix seconds. */
export function stretchDialog({ from, to }, chosen) {
  const dialog = el('dialog', 'dialog');
  const heading = el('h2', '', 'From when to when');
  heading.id = 'stretch-title';
  dialog.setAttribute('aria-labelledby', heading.id);
  const [first, last] = [from, to].map((at) => {
    const made = input('datetime-local', { required: '', step: '1' });
    made.value = written(at);
    return made;
  });
  const fault = el('p', 'fault');
  fault.setAttribute('role', 'alert');
  const submit = button('is-primary', 'Show');
  submit.type = 'submit';
  const form = box('form', 'form', field('From', first), field('To', last), fault, box('div', 'actions', button('', 'Cancel', () => dialog.close()), submit));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const wanted = { from: read(first.value), to: read(last.value) };
    if (!(wanted.to > wanted.from)) { fault.textContent = 'The end has to come after the beginning.'; return; }
    dialog.close();
    chosen(wanted);
  });
  dialog.append(heading, form);
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  first.focus();
}
