// The sidecar's own API. Every call has a time-out; a failed query is a value, so that one does not take the others down.

const TIMEOUT_MS = 10_000;

async function get(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const response = await fetch(query ? `${path}?${query}` : path, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: 'no-store' });
  const body = await response.json();
  if (!response.ok) throw Object.assign(new Error(body.error ?? `answered ${response.status}`), { answered: true });
  return body;
}

const data = async (path, parameters) => (await get(path, parameters)).data;

export const status = () => get('/status');
export const targets = async () => (await data('/api/v1/targets')).activeTargets;
export const rules = async () => (await data('/api/v1/rules')).groups;
export const silences = () => get('/api/v2/silences');
export const instant = (query) => data('/api/v1/query', { query });

/** [{labels, values}] with one value per time, null where there is none. */
export async function range(query, times) {
  const step = times.length > 1 ? times[1] - times[0] : 1;
  const found = await data('/api/v1/query_range', { query, start: times[0], end: times[times.length - 1], step });
  return found.result.map(({ metric, values }) => {
    const row = new Array(times.length).fill(null);
    for (const [at, value] of values) {
      const number = Number(value);
      const place = Math.round((at - times[0]) / step);
      if (Number.isFinite(number) && place >= 0 && place < row.length) row[place] = number;
    }
    return { labels: metric, values: row };
  });
}

/** Kept for as long as the page is open. */
let known = '';

async function change(method, path, body, token) {
  known = token || known;
  const headers = { ...(body && { 'content-type': 'application/json' }), ...(known && { authorization: `Bearer ${known}` }) };
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw Object.assign(new Error(await response.json().catch(() => `answered ${response.status}`)), { status: response.status });
}

export const addSilence = (silence, token) => change('POST', '/api/v2/silences', silence, token);
export const endSilence = (id) => change('DELETE', `/api/v2/silence/${encodeURIComponent(id)}`);
