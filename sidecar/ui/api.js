// The sidecar's own API. Every call has a time-out; a failed query is a value, so that one does not take the others down.

const TIMEOUT_MS = 10_000;

async function get(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const response = await fetch(query ? `${path}?${query}` : path, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: 'no-store' });
  const body = await response.json().catch(() => null);
  if (!response.ok || body == null) throw failure(response, body);
  return body;
}

/** `answered`: somebody is there, and says no. Alertmanager's errors are texts, Prometheus' objects, other pages' problems. */
function failure(response, body) {
  const message = (typeof body === 'string' ? body : body?.error ?? body?.detail ?? body?.title) ?? `answered ${response.status}`;
  return Object.assign(new Error(message.replace(/^invalid parameter "(query|filter|match\[\])": /, '')), { answered: true, status: response.status });
}

const data = async (path, parameters) => (await get(path, parameters)).data;

export const status = () => get('/status');
export const targets = async () => (await data('/api/v1/targets')).activeTargets;
export const rules = async () => (await data('/api/v1/rules')).groups;
export const silences = () => get('/api/v2/silences');
/** Firing and pending alerts with what holds them back; `matchers` as they are written, between commas. */
export const alerts = (matchers) => get('/api/v2/alerts', { pending: true, ...(matchers && { filter: matchers }) });
export const instant = (query, time) => data('/api/v1/query', { query, ...(time && { time }) });
export const formatted = (query) => data('/api/v1/format_query', { query });
export const metadata = () => data('/api/v1/metadata');
export const values = (label, match) => data(`/api/v1/label/${encodeURIComponent(label)}/values`, { limit: 2_000, ...(match && { 'match[]': match }) });
export const names = (match) => data('/api/v1/labels', { limit: 500, ...(match && { 'match[]': match }) });

/** [{labels, values}] with one value per time, null where there is none. */
export async function range(query, times) {
  const step = times.length > 1 ? times[1] - times[0] : 1;
  const found = await data('/api/v1/query_range', { query, start: times[0], end: times[times.length - 1], step });
  return found.result.map(({ metric, values: samples }) => {
    const row = new Array(times.length).fill(null);
    for (const [at, value] of samples) {
      const number = Number(value);
      const place = Math.round((at - times[0]) / step);
      if (Number.isFinite(number) && place >= 0 && place < row.length) row[place] = number;
    }
    return { labels: metric, values: row };
  });
}

/** Null when this sidecar does not scale anything. */
export async function scaling() {
  try {
    return (await data('/api/v1/scaling')).groups;
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

export const decisions = async (parameters) => (await data('/api/v1/scaling/decisions', parameters)).decisions;

/** Kept for as long as the page is open. */
let known = '';

async function change(method, path, body, token) {
  known = token || known;
  const headers = { ...(body && { 'content-type': 'application/json' }), ...(known && { authorization: `Bearer ${known}` }) };
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(TIMEOUT_MS) });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw failure(response, answer);
  return answer;
}

export const addSilence = (silence, token) => change('POST', '/api/v2/silences', silence, token);
export const endSilence = (id, token) => change('DELETE', `/api/v2/silence/${encodeURIComponent(id)}`, null, token);
export const override = (wanted, token) => change('POST', '/api/v1/scaling/override', wanted, token);
export const endOverride = (group, token) => change('DELETE', `/api/v1/scaling/override?${new URLSearchParams({ group })}`, null, token);
export const drain = (group, name, token) => change('POST', `/api/v1/scaling/instances/${encodeURIComponent(name)}/drain?${new URLSearchParams({ group })}`, null, token);
