// Scaling: how many instances there are and shall be, which signals speak for what, what was decided and why, and steering by hand.

import * as api from '../api.js';
import { Chart } from '../charts.js';
import { box, dot, el, nothing, renew, table } from '../dom.js';
import { kindOf, moment, plural, span, text, tick } from '../format.js';
import { steer } from '../steer.js';

const MODES = { auto: ['good', 'by itself'], paused: ['warn', 'paused'], override: ['warn', 'held by hand'] };
const ACTIONS = { up: ['↑', 'more', 'good'], down: ['↓', 'fewer', 'revalidated'], hold: ['→', 'as it is', ''] };
const BINDING = {
  max: 'at the maximum', min: 'at the minimum', cooldown_up: 'cooling down after more', cooldown_down: 'cooling down after fewer', stabilization: 'waits until it is steady', rate: 'not so many at once',
  panic: 'load came suddenly', unknown: 'numbers are missing', override: 'held by hand', paused: 'paused', startup: 'has just started', converging: 'the last change is under way', unreachable: 'instances cannot be reached',
  cold_limit: 'enough cold instances', origin_budget: 'origins could not bear it', origin_fault: 'the origin is at fault',
};
const FILTERS = [['changes', 'Changes'], ['held', 'Held back'], ['all', 'All']];
const LIMIT = 500;

/** What somebody has done, in words. */
function act({ kind, instance, override }) {
  if (kind === 'drain') return `${instance} drained`;
  if (!override) return 'ended';
  return `${override.pause ? 'paused' : `held at ${override.desired}`} until ${moment(Date.parse(override.until), Date.now())}`;
}

// ---- the group at a glance -------------------------------------------------------------------------------

function capacity(group) {
  const pips = el('div', 'capacity');
  pips.setAttribute('role', 'img');
  pips.setAttribute('aria-label', `${group.ready} ready of ${group.desired} wanted; at least ${group.min}, at most ${group.max}`);
  const warming = group.instances.filter((one) => one.state === 'warming' || one.state === 'starting').length;
  for (let at = 0; at < group.max; at++) {
    const state = at < group.ready ? 'is-ready' : at < group.ready + warming ? 'is-warming' : at < group.desired ? 'is-wanted' : '';
    pips.append(el('span', `slot ${state} ${at + 1 === group.min ? 'is-min' : ''}`));
  }
  return pips;
}

function glance(group, now) {
  const [state, word] = MODES[group.mode] ?? ['', group.mode];
  const faults = [group.error, group.reachable ? '' : 'Instances cannot be reached: nothing is changed until they can.'].filter(Boolean);
  const { last } = group;
  return box('article', 'card glance',
    box('div', 'glance-head', el('h2', '', group.name), box('span', 'state', dot(state), word), group.converging ? el('span', 'chip', 'change under way') : null, group.advise ? el('span', 'chip is-override', 'advises only: nothing is started or stopped') : null),
    box('p', 'glance-count', el('strong', '', String(group.ready)), ` ready of ${group.desired} wanted`, el('span', 'quiet', ` · at least ${group.min}, at most ${group.max}`)),
    capacity(group),
    ...faults.map((fault) => el('p', 'fault', fault)),
    last ? box('div', 'glance-last', box('p', '', arrow(last), ' ', last.reason), last.binding !== 'none' && last.counterfactual ? el('p', 'quiet', `Otherwise: ${last.counterfactual}`) : null, el('p', 'quiet', `decided ${span((now - Date.parse(last.at)) / 1000)} ago`)) : el('p', 'quiet', 'Nothing has been decided yet.'));
}

function arrow(decision) {
  const [sign, word, tone] = ACTIONS[decision.action] ?? ['·', decision.action, ''];
  const made = el('span', `arrow ${tone ? `is-${tone}` : ''}`, `${sign} ${decision.from === decision.to ? decision.to : `${decision.from} → ${decision.to}`}`);
  made.title = word;
  return made;
}

// ---- signals ---------------------------------------------------------------------------------------------

function signalTable(group) {
  const columns = [{ title: 'Signal', label: '' }, { title: 'Now', className: 'number', label: 'now' }, { title: 'More from', className: 'number', label: 'more from' }, { title: 'Fewer below', className: 'number', label: 'fewer below' }, { title: 'Aim', className: 'number', label: 'aim' }, { title: 'Covered', className: 'number', label: 'covered' }, { title: 'Age', className: 'number', label: 'age' }, { title: '', className: 'wrap wide', label: '' }];
  return table(`Signals of ${group.name}`, columns, group.signals.map((signal) => {
    const kind = kindOf(signal.unit);
    const shown = (value) => (value == null ? '' : tick(kind, value));
    const over = signal.value != null && signal.up != null && signal.value > signal.up;
    const name = el('strong', '', signal.name);
    name.title = signal.expr;
    return [box('span', 'state', dot(signal.usable ? (over ? 'warn' : 'good') : 'bad'), name), signal.value == null ? 'unknown' : el('span', over ? 'over' : '', text(kind, signal.value)), shown(signal.up), shown(signal.down), shown(signal.target),
      text('share', signal.coverage), signal.age_seconds == null ? '' : span(signal.age_seconds), signal.usable ? '' : el('span', 'fault', signal.why)];
  }));
}

const lines = (signal) => [[signal.up, 'more above', '--bad'], [signal.target, 'aim', '--quiet'], [signal.down, 'fewer below', '--revalidated']]
  .filter(([value]) => value != null).map(([value, word, tone]) => ({ value, name: `${word} ${tick(kindOf(signal.unit), value)}`, tone, inRange: true }));

/**
 * What the controller has read, as it exports it. Of one that does not, the expression itself, unless it has places that only the
 * controller fills in.
 */
async function measured(group, signal, ctx) {
  const exported = await ctx.range(`max by (signal) (millrace_scaling_signal{pool=${JSON.stringify(group.name)}, signal=${JSON.stringify(signal.name)}})`);
  if (exported.length || signal.expr.includes('$')) return exported;
  return ctx.range(signal.expr);
}

/** What the newest decision up to each moment says. */
function steps(decisions, times, value) {
  const sorted = [...decisions].sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
  let next = 0;
  let now = null;
  return times.map((at) => {
    while (next < sorted.length && Date.parse(sorted[next].at) / 1000 <= at) now = value(sorted[next++]);
    return now;
  });
}

// ---- decisions -------------------------------------------------------------------------------------------

function ruleRows(decision) {
  const words = { true: ['warn', 'true'], false: ['', 'false'], pending: ['warn', 'not for long enough'], unknown: ['bad', 'unknown'] };
  return decision.rules.map((rule) => {
    const [state, word] = words[rule.verdict] ?? ['', rule.verdict];
    return [box('span', 'state', dot(state), word), rule.name, rule.direction === 'up' ? 'more' : 'fewer', text('count', rule.value), text('count', rule.threshold), rule.for_seconds ? span(rule.for_seconds) : 'at once'];
  });
}

function decisionItem(decision, now, expanded, toggle) {
  const held = decision.binding !== 'none';
  const when = decision.until ? `${moment(Date.parse(decision.at), now)} – ${moment(Date.parse(decision.until), now)}` : moment(Date.parse(decision.at), now);
  const summary = box('summary', '', el('span', 'decision-time', when), arrow(decision), el('span', 'decision-why', decision.reason), held ? el('span', `chip is-${decision.binding}`, BINDING[decision.binding] ?? decision.binding) : null, decision.repeated ? el('span', 'quiet', `${decision.repeated + 1}×`) : null);
  const figure = (title, label) => ({ title, className: 'number', label });
  const more = box('div', 'decision-more', decision.counterfactual ? box('p', '', el('span', 'quiet', 'Otherwise: '), decision.counterfactual) : null,
    el('p', 'quiet', `${plural(decision.ready, 'instance')} ready, ${decision.warming} warming.`),
    decision.rules?.length ? table('Rules', [{ title: 'Verdict', label: '' }, { title: 'Rule', label: '' }, { title: 'For', label: 'for' }, figure('Value', 'value'), figure('Threshold', 'threshold'), figure('Must last', 'must last')], ruleRows(decision)) : null,
    decision.targets?.length ? table('Targets', [{ title: 'Signal', label: '' }, figure('Value', 'value'), figure('Aim', 'aim'), figure('Ratio', 'ratio'), figure('Wants', 'wants')], decision.targets.map((target) => [target.signal, text('count', target.value), text('count', target.target), text('count', target.ratio), target.wants == null ? '' : plural(target.wants, 'instance')])) : null);
  const details = box('details', `decision is-${decision.action} ${held ? 'is-held' : ''}`, summary, more);
  const key = `${decision.at} ${decision.action}`;
  if (expanded.has(key)) details.open = true;
  details.addEventListener('toggle', () => toggle(key, details.open));
  return box('li', '', details);
}

// ---- the tab ---------------------------------------------------------------------------------------------

function open(root, { refresh: again }) {
  const pick = el('div', 'switches');
  const top = el('div');
  const hand = steer(again);
  const signals = el('div');
  const plots = el('div', 'charts');
  const list = el('div');
  const count = el('span', 'count');
  const audit = el('div');
  const filters = el('div', 'switches');
  filters.setAttribute('role', 'group');
  filters.setAttribute('aria-label', 'Decisions shown');
  const body = box('div', 'stack', box('div', 'split', box('div', 'stack', top, box('section', '', el('h2', '', 'Signals'), signals)), hand.root),
    box('section', '', el('h2', '', 'Over the range'), plots),
    box('section', '', box('div', 'section-head', box('h2', '', 'Decisions ', count), filters), list),
    box('section', '', el('h2', '', 'By hand'), audit));
  const empty = el('div');
  root.append(pick, empty, body);
  body.hidden = true;
  const instances = new Chart({ title: 'Instances', note: 'wanted, ready and warming', kind: 'count', step: true, order: ['wanted', 'ready', 'warming'], colour: (name) => ({ wanted: '--quiet', ready: '--hit', warming: '--miss' })[name] });
  const charts = new Map();
  const expanded = new Set();
  let wanted = '';
  let filter = 'changes';
  let decided = [];
  let now = 0;

  const toggle = (key, on) => { if (on) expanded.add(key); else expanded.delete(key); };
  const switches = (place, entries, current, act) => {
    const made = entries.map(([id, title]) => {
      const one = el('button', 'switch', title);
      one.type = 'button';
      one.setAttribute('aria-pressed', String(id === current));
      one.addEventListener('click', () => act(id));
      return one;
    });
    renew(place, ...made);
  };
  const drawFilters = () => switches(filters, FILTERS, filter, (id) => { filter = id; drawFilters(); drawDecisions(); });

  function drawDecisions() {
    const fits = { all: () => true, changes: (one) => one.action !== 'hold', held: (one) => one.binding !== 'none' }[filter];
    const shown = decided.filter(fits).slice(0, 60);
    const changes = decided.filter((one) => one.action !== 'hold').length;
    count.textContent = `${plural(changes, 'change')} in this range`;
    renew(list, shown.length ? box('ol', 'decisions', ...shown.map((one) => decisionItem(one, now, expanded, toggle)))
      : nothing(filter === 'changes' ? 'Nothing was changed in this range' : filter === 'held' ? 'Nothing was held back in this range' : 'Nothing was decided in this range'));
  }

  function drawAudit(group) {
    const columns = [{ title: 'When', label: '' }, { title: 'What', label: '' }, { title: 'Who', label: 'by' }, { title: 'Why', className: 'wrap wide', label: '' }];
    const items = group.by_hand.map((one) => [moment(Date.parse(one.at), now), act(one), one.by, one.override?.reason ?? '']);
    renew(audit, items.length ? table('By hand', columns, items) : nothing('Nobody has steered by hand yet'));
  }

  async function drawPlots(group, ctx) {
    const marks = decided.filter((one) => one.action !== 'hold').map((one) => ({ at: Date.parse(one.at) / 1000, tone: one.action === 'up' ? '--hit' : '--revalidated' }));
    for (const [name, chart] of charts) {
      if (group.signals.some((signal) => signal.name === name)) continue;
      chart.root.remove();
      chart.forget();
      charts.delete(name);
    }
    if (!instances.root.isConnected) plots.append(instances.root);
    instances.marks = marks;
    instances.thresholds = [{ value: group.max, name: `at most ${group.max}`, tone: '--bad', inRange: true }, { value: group.min, name: `at least ${group.min}`, tone: '--revalidated' }];
    if (decided.length) instances.show(ctx.times, [['wanted', (one) => one.to], ['ready', (one) => one.ready], ['warming', (one) => one.warming]].map(([name, value]) => ({ name, values: steps(decided, ctx.times, value) })));
    else instances.say('Nothing was decided in this range');
    await Promise.all(group.signals.map(async (signal) => {
      let chart = charts.get(signal.name);
      if (!chart) {
        const kind = kindOf(signal.unit);
        // Thresholds of times are often far above what is normal.
        const scale = kind === 'seconds' ? 'log' : undefined;
        chart = new Chart({ title: signal.name, note: scale ? 'log scale' : kind === 'count' ? signal.unit : '', kind, scale, colour: () => '--one' });
        charts.set(signal.name, chart);
        plots.append(chart.root);
        chart.say('Asking…');
      }
      chart.thresholds = lines(signal);
      chart.marks = marks;
      try {
        const rows = await measured(group, signal, ctx);
        const drawn = rows.map((row) => ({ name: Object.values(row.labels).join(' ') || signal.name, values: row.values }));
        if (drawn.length) chart.show(ctx.times, drawn);
        else chart.say('No numbers in this range', signal.why);
      } catch (error) {
        if (!error.answered) throw error;
        chart.say('This query failed', error.message);
      }
    }));
  }

  async function refresh(ctx) {
    now = ctx.now;
    let groups = null;
    try {
      groups = await api.scaling();
    } catch (error) {
      if (!error.answered) throw error;
      body.hidden = true;
      renew(empty, nothing('Scaling does not answer', error.message));
      return;
    }
    body.hidden = !groups?.length;
    pick.hidden = !(groups?.length > 1);
    if (!groups?.length) {
      renew(empty, nothing('Scaling is not configured', 'With a policy, the sidecar starts and stops instances by load, latency and queue, and this page shows what it decides and why, signal by signal. config/scaling.toml is a policy to begin with; alerts and all other tabs work without.'));
      return;
    }
    renew(empty);
    const group = groups.find((one) => one.name === wanted) ?? groups[0];
    switches(pick, groups.map((one) => [one.name, one.name]), group.name, (id) => { wanted = id; decided = []; expanded.clear(); again(); });
    hand.update(now, group);
    renew(top, glance(group, now));
    renew(signals, group.signals.length ? signalTable(group) : nothing('No signals', 'The policy of this group names none.'));
    const found = await api.decisions({ group: group.name, start: ctx.times[0], end: ctx.at ?? now / 1000, limit: LIMIT, fold: true }).catch((error) => { if (!error.answered) throw error; return []; });
    decided = found;
    drawFilters();
    drawDecisions();
    drawAudit(group);
    await drawPlots(group, ctx);
  }
  return { refresh, close: () => [instances, ...charts.values()].forEach((chart) => chart.forget()) };
}

export default { id: 'scaling', title: 'Scaling', open };
