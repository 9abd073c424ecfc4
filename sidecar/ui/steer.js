// Steering by hand: a group is held at a number of instances, or left as it is, for a while and for a reason.

import * as api from './api.js';
import { announce, box, button, el, field, input, select } from './dom.js';
import { moment, span } from './format.js';
import { tokenField } from './silences.js';

const LENGTHS = [['10 minutes', 600], ['30 minutes', 1800], ['1 hour', 3600], ['4 hours', 14_400], ['24 hours', 86_400]];

function choice(name, value, label, checked) {
  const made = input('radio', { name, value });
  made.checked = checked;
  const around = box('label', 'choice', made, el('span', '', label));
  return around;
}

/** A form of its own for one group; `update(group, now)` tells it how the group stands. */
export function steer(done) {
  const root = el('div', 'card');
  const heading = el('h3', '', 'Steer by hand');
  const standing = el('div');
  const hold = choice('steer', 'hold', 'Hold at a number of instances', true);
  const pause = choice('steer', 'pause', 'Pause: change nothing', false);
  const desired = input('number', { min: '0', step: '1', required: '', inputmode: 'numeric' });
  const length = select(LENGTHS);
  const why = input('text', { required: '', autocomplete: 'off', maxlength: '300' });
  const token = tokenField();
  const fault = el('p', 'fault');
  fault.setAttribute('role', 'alert');
  const submit = button('is-primary', 'Apply');
  submit.type = 'submit';
  const number = field('Instances', desired);
  const kinds = box('fieldset', 'choices', el('legend', 'hidden', 'What to do'), hold, pause);
  const form = box('form', 'form', kinds, box('div', 'form-row', number, field('For', length)), field('Why', why, 'Stands in the journal, with who did it and until when.'), token.made, fault, box('div', 'actions', submit));
  root.append(heading, standing, form);
  let group = null;

  const pausing = () => pause.firstChild.checked;
  kinds.addEventListener('change', () => {
    number.hidden = pausing();
    desired.required = !pausing();
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    fault.textContent = '';
    const wanted = { group: group.name, seconds: Number(length.value), reason: why.value.trim(), ...(pausing() ? { pause: true } : { desired: Number(desired.value) }) };
    try {
      await api.override(wanted, token.token.value);
      why.value = '';
      announce(pausing() ? `${group.name} is paused` : `${group.name} is held at ${wanted.desired}`);
      done();
    } catch (error) {
      token.ask(error);
      fault.textContent = error.message;
    }
  });

  async function release() {
    try {
      await api.endOverride(group.name, token.token.value);
      announce(`${group.name} scales by itself again`);
      done();
    } catch (error) {
      token.ask(error);
      fault.textContent = error.message;
    }
  }

  const end = button('is-small', 'End now', release);
  const words = el('p');
  const note = box('div', 'override', words, end);
  note.hidden = true;
  standing.append(note);

  function update(now, next) {
    if (group?.name !== next.name) desired.value = next.desired;
    group = next;
    desired.max = next.max;
    desired.min = next.min;
    const { override } = next;
    note.hidden = !override;
    if (!override) return;
    const left = span(Math.max(0, (Date.parse(override.until) - now) / 1000));
    const text = `${override.pause ? 'Paused' : `Held at ${override.desired}`} by ${override.by || 'somebody'} until ${moment(Date.parse(override.until), now)} (${left} more): ${override.reason}`;
    if (words.textContent !== text) words.textContent = text;
  }
  return { root, update };
}
