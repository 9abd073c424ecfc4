// The page: which tab is open, when it asks for what, and the head that all tabs share. Everything that comes from outside is set
// as text, never as markup.

import * as api from './api.js';
import { repaint } from './charts.js';
import { $, announce, el, link } from './dom.js';
import { clock, plural, span, text, units } from './format.js';
import { Live } from './live.js';
import { stretchDialog } from './stretch.js';
import alerts from './tabs/alerts.js';
import explore from './tabs/explore.js';
import instances from './tabs/instances.js';
import jobs from './tabs/jobs.js';
import overview from './tabs/overview.js';
import scaling from './tabs/scaling.js';
import targets from './tabs/targets.js';

const TABS = [overview, instances, scaling, alerts, targets, jobs, explore];
const RANGES = { '15m': 900, '1h': 3600, '6h': 21_600, '24h': 86_400 };
const POINTS = 180;
/** Of a plot as wide as the page; and at most, where somebody has chosen the step. */
const WIDE_POINTS = 360;
const MOST_POINTS = 2_000;
/** A sidecar that has just started shows at least this much, not a sliver at the edge of an empty plot. */
const LEAST_RANGE = 180;
const POLL_MS = 5_000;
/** News often come several at a time. */
const SETTLE_MS = 150;
const THEMES = ['auto', 'light', 'dark'];

const view = { tab: null, open: null, range: '15m', fixed: null, busy: false, again: false, lastGood: null, timer: 0 };

// ---- where we are ----------------------------------------------------------------------------------------

/** `#/alerts?range=1h`, or `from=…&to=…` in Unix seconds for a stretch that does not move on; of old also `/admin/scaling` and `#query=…`, to which notifications link. */
function place() {
  const hash = location.hash.slice(1);
  if (hash.startsWith('/')) {
    const [name, query = ''] = hash.slice(1).split('?');
    return { name, parameters: new URLSearchParams(query) };
  }
  const query = new URLSearchParams(hash).get('query');
  if (query) return { name: 'explore', parameters: new URLSearchParams({ expr: query }) };
  return { name: location.pathname === '/admin/scaling' ? 'scaling' : 'overview', parameters: new URLSearchParams() };
}

const stretch = () => (view.fixed ? { from: view.fixed.from, to: view.fixed.to } : {});
const address = (name) => `/#/${name}?${new URLSearchParams({ range: view.range, ...stretch() })}`;

function go() {
  const { name, parameters } = place();
  if (location.hash === '#main') return;
  const range = parameters.get('range');
  if (RANGES[range]) view.range = range;
  const [from, to] = [Number(parameters.get('from')), Number(parameters.get('to'))];
  view.fixed = from > 0 && to > from ? { from, to } : null;
  for (const one of $('ranges').children) one.setAttribute('aria-pressed', String(one === own ? Boolean(view.fixed) : !view.fixed && one.textContent === view.range));
  $('stretch').hidden = !view.fixed;
  if (view.fixed) $('stretch').firstElementChild.textContent = `${clock(from)} – ${clock(to)}`;
  const tab = TABS.find((one) => one.id === name) ?? overview;
  if (tab !== view.tab) {
    view.open?.close?.();
    const root = el('div', 'stack');
    view.tab = tab;
    view.open = tab.open(root, { refresh });
    $('tab').replaceChildren(root);
    $('main').scrollTo?.(0, 0);
  }
  view.open.at?.(parameters);
  drawNav();
  document.title = titled();
  $('heading').textContent = view.tab.title;
  refresh();
}

function titled(firing = view.firing ?? 0) {
  return `${firing ? `(${firing}) ` : ''}${view.tab.title} · Millrace operations`;
}

function drawNav() {
  const nav = $('tabs');
  if (!nav.children.length) nav.append(...TABS.map((tab) => { const made = link('', tab.title, 'tab'); made.append(el('span', 'badge-count')); return made; }));
  TABS.forEach((tab, at) => {
    const made = nav.children[at];
    made.href = address(tab.id);
    if (tab !== view.tab) made.removeAttribute('aria-current');
    else if (!made.hasAttribute('aria-current')) {
      made.setAttribute('aria-current', 'page');
      reveal();
    }
  });
}

/** The tab that is open, where not all of them fit. */
function reveal() {
  const [nav, made] = [$('tabs'), $('tabs').querySelector('[aria-current]')];
  if (made) nav.scrollTo({ left: made.offsetLeft - nav.clientWidth / 2 + made.clientWidth / 2 });
}

function badge(id, count, state, what) {
  const made = $('tabs').children[TABS.findIndex((tab) => tab.id === id)].querySelector('.badge-count');
  made.className = `badge-count ${count ? `is-${state}` : ''}`;
  if (made.textContent !== (count ? String(count) : '')) {
    made.textContent = count ? String(count) : '';
    reveal();
  }
  if (count) made.setAttribute('aria-label', `, ${count} ${what}`);
  else made.removeAttribute('aria-label');
}

// ---- the head --------------------------------------------------------------------------------------------

function drawVerdict(state, words) {
  const verdict = $('verdict');
  if (verdict.lastElementChild.textContent === words && verdict.className.includes(`is-${state}`)) return;
  verdict.className = `verdict is-${state}`;
  verdict.lastElementChild.textContent = words;
}

function drawHead({ status }) {
  const { targets: found, series, alerts: { firing, pending } } = status;
  const [size, unit] = units.size(series.bytes);
  const held = series.oldest ? span((Date.parse(status.now) - Date.parse(series.oldest)) / 1000) : 'nothing';
  const silent = status.receivers.filter((receiver) => receiver.lastError);
  $('footprint').textContent = `millrace-sidecar ${status.version} · up ${span(status.uptimeSeconds)} · ${text('count', series.held)} series, ${held} of history in ${size} ${unit} · scrapes every ${status.scrapeIntervalSeconds} s`;
  if (firing) drawVerdict('bad', `${plural(firing, 'alert')} firing`);
  else if (found.down) drawVerdict('warn', `${plural(found.down, 'target')} down`);
  else if (silent.length) drawVerdict('warn', `${silent[0].receiver} cannot be told of alerts`);
  else if (pending) drawVerdict('warn', `${plural(pending, 'alert')} pending`);
  else if (found.waiting) drawVerdict('waiting', 'Waiting for the first scrape');
  else drawVerdict('good', 'All is well');
  badge('alerts', firing, 'bad', 'firing');
  badge('targets', found.down, 'warn', 'down');
  view.firing = firing;
  document.title = titled();
  $('clock').textContent = clock(Date.parse(status.now) / 1000);
}

function drawLive(on) {
  $('live').className = `live ${on ? 'is-good' : ''}`;
  $('live-word').textContent = on ? 'live' : 'every 5 s';
}

// ---- refresh ---------------------------------------------------------------------------------------------

/** What a tab asks with: one moment, one raster, and each query only once. */
function context(status, found, groups) {
  const now = Date.parse(status.now);
  const { from, to } = view.fixed ?? until(now / 1000, status);
  const times = steps(from, to, status.scrapeIntervalSeconds, POINTS);
  const step = times[1] - times[0];
  view.seen = { from: times[0], to: times.at(-1) };
  const asked = new Map();
  const servers = found.filter((target) => target.labels.job !== 'millrace-sidecar');
  return {
    status, targets: found, groups, now, times, step, servers, at: view.fixed?.to, rangeName: view.range, refresh,
    window: `${Math.max(4 * status.scrapeIntervalSeconds, 30, step)}s`,
    range(query) {
      if (!asked.has(query)) asked.set(query, api.range(query, times));
      return asked.get(query);
    },
    /** A finer raster for wide plots; `seconds` is a step that somebody has chosen. */
    raster: (seconds) => (seconds ? steps(from, to, seconds, MOST_POINTS) : steps(from, to, status.scrapeIntervalSeconds, WIDE_POINTS)),
    whyEmpty() {
      if (!servers.length) return ['No server is being scraped', 'Start the sidecar with --target URL.'];
      if (servers.every((target) => target.health === 'unknown')) return ['Waiting for the first scrape'];
      if (servers.every((target) => target.health === 'down')) return ['No server answers', servers[0].lastError];
      return null;
    },
  };
}

function until(now, { series }) {
  const history = series.oldest ? now - Date.parse(series.oldest) / 1000 : 0;
  return { from: now - Math.min(RANGES[view.range], Math.max(history, LEAST_RANGE)), to: now };
}

/** Multiples of the step, so that a refresh moves the plot instead of redrawing it differently. */
function steps(from, to, least, points) {
  const step = Math.max(least, Math.ceil((to - from) / points));
  const end = Math.floor(to / step) * step;
  const times = [];
  for (let at = end - Math.max(2, Math.floor((to - from) / step)) * step; at <= end; at += step) times.push(at);
  return times;
}

async function refresh() {
  if (document.hidden) return;
  if (view.busy) { view.again = true; return; }
  view.busy = true;
  clearTimeout(view.timer);
  try {
    const [status, found, groups] = await Promise.all([api.status(), api.targets(), api.rules()]);
    const ctx = context(status, found, groups);
    drawHead(ctx);
    await view.open.refresh(ctx);
    view.lastGood = ctx.now;
    view.interval = status.scrapeIntervalSeconds * 1000;
    $('offline').hidden = true;
    document.body.classList.remove('is-stale-view');
  } catch (error) {
    const since = view.lastGood ? ` since ${clock(view.lastGood / 1000)}; what you see is from then` : '';
    const why = error.name === 'TimeoutError' ? 'timed out' : error.message;
    const words = error.answered ? `The sidecar answers with an error: ${why}` : `The sidecar does not answer${since}. It is asked again every 5 seconds. (${why})`;
    if ($('offline').textContent !== words) $('offline').textContent = words;
    $('offline').hidden = false;
    document.body.classList.add('is-stale-view');
    drawVerdict('bad', 'No answer from the sidecar');
  } finally {
    view.busy = false;
    // Of what is no metric the stream tells at once; metrics come once per scrape.
    const calm = live.on && $('offline').hidden ? Math.min(Math.max(view.interval, POLL_MS), 15_000) : POLL_MS;
    view.timer = setTimeout(refresh, view.again ? SETTLE_MS : calm);
    view.again = false;
  }
}

function heard(kind, data) {
  if (kind === 'alert') {
    const begun = (data?.changes ?? []).filter((change) => change.state === 'firing');
    if (begun.length) announce(`${begun.map((change) => change.labels.alertname).join(', ')} ${begun.length > 1 ? 'fire' : 'fires'}`, 'bad');
  }
  clearTimeout(view.timer);
  view.timer = setTimeout(refresh, SETTLE_MS);
}

// ---- start -----------------------------------------------------------------------------------------------

function chooseTheme(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try { localStorage.setItem('theme', theme); } catch { /* For this page only, then. */ }
  drawTheme();
  repaint();
}

function drawTheme() {
  const now = document.documentElement.dataset.theme ?? 'auto';
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  $('theme').textContent = { auto: '◐', light: '☀', dark: '☾' }[now];
  $('theme').title = `Colours: ${now === 'auto' ? 'as the system' : now}`;
  $('theme').setAttribute('aria-label', `Colours: ${now === 'auto' ? 'as the system' : now}. Switch to ${next}.`);
  $('theme').onclick = () => chooseTheme(next);
}

/** Another range, or a stretch that does not move on; on the tab that is open. */
function show(wanted) {
  const { name, parameters } = place();
  for (const gone of ['from', 'to']) parameters.delete(gone);
  for (const [key, value] of Object.entries(wanted)) parameters.set(key, value);
  location.href = `/#/${name}?${parameters}`;
}

for (const name of Object.keys(RANGES)) {
  const made = el('button', '', name);
  made.type = 'button';
  made.addEventListener('click', () => show({ range: name }));
  $('ranges').append(made);
}
const own = el('button', '', '…');
own.type = 'button';
own.title = 'From when to when';
own.setAttribute('aria-label', 'From when to when');
own.addEventListener('click', () => stretchDialog(view.fixed ?? view.seen ?? until(Date.now() / 1000, { series: {} }), show));
$('ranges').append(own);
drawTheme();
$('stretch-end').addEventListener('click', () => show({}));
$('main').addEventListener('zoom', (event) => show(event.detail));
addEventListener('hashchange', go);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });
const live = new Live(heard, drawLive);
go();
