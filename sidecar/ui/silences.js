// Silences: a form below each alert, and the list of those in force.

import * as api from './api.js';
import { el } from './dom.js';
import { span } from './format.js';

const $ = (id) => document.getElementById(id);
const LENGTHS = [['1 h', 3600], ['4 h', 14_400], ['1 day', 86_400], ['1 week', 604_800]];

function select(options) {
  const made = el('select');
  for (const [name, value] of options) {
    const option = el('option', '', name);
    option.value = value;
    made.append(option);
  }
  return made;
}

function input(type, label) {
  const made = el('input');
  made.type = type;
  made.placeholder = label;
  made.setAttribute('aria-label', label);
  return made;
}

/** Silences exactly the alert with these labels. */
export function silenceForm(labels, done) {
  const details = el('details', 'silence');
  details.append(el('summary', 'quiet', 'Silence'));
  const form = el('form', 'silence-form');
  const length = select(LENGTHS);
  length.setAttribute('aria-label', 'For how long');
  const comment = input('text', 'Why');
  comment.required = true;
  const token = input('password', 'Token');
  token.hidden = true;
  const fault = el('p', 'fault');
  const button = el('button', 'button', 'Silence');
  form.append(length, comment, token, button, fault);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const now = Date.now();
    const matchers = Object.entries(labels).map(([name, value]) => ({ name, value, isRegex: false, isEqual: true }));
    const silence = { matchers, startsAt: new Date(now).toISOString(), endsAt: new Date(now + length.value * 1000).toISOString(), createdBy: 'dashboard', comment: comment.value };
    try {
      await api.addSilence(silence, token.value);
      details.open = false;
      done();
    } catch (error) {
      token.hidden = error.status !== 403;
      fault.textContent = error.message;
    }
  });
  details.append(form);
  return details;
}

export function drawSilences(silences, now, done) {
  const inForce = silences.filter((silence) => silence.status.state !== 'expired');
  $('silences-section').hidden = !inForce.length;
  $('silences').replaceChildren(...inForce.map((silence) => {
    const row = el('p', 'silence-row');
    const what = silence.matchers.map((matcher) => `${matcher.name}${matcher.isEqual ? '=' : '!'}${matcher.isRegex ? '~' : matcher.isEqual ? '' : '='}${JSON.stringify(matcher.value)}`).join(', ');
    const left = span(Math.max(0, (Date.parse(silence.endsAt) - now) / 1000));
    const button = el('button', 'button', 'End');
    button.type = 'button';
    const fault = el('span', 'fault');
    button.addEventListener('click', async () => {
      try {
        await api.endSilence(silence.id);
        done();
      } catch (error) {
        fault.textContent = error.message;
      }
    });
    row.append(el('span', 'mono wrap', what), el('span', 'quiet', ` for ${left} more · ${silence.createdBy} · ${silence.comment} `), button, fault);
    return row;
  }));
}
