// What a response says about where it came from: asks for it, reads the cache headers, shows them as a badge.

import { age } from './units.js';

/** The headers that together are the whole verdict, in the order they are shown. */
const telling = ['X-Cache', 'Cache-Status', 'Age', 'Server-Timing', 'Cache-Control', 'ETag', 'Last-Modified', 'Vary',
  'Content-Type', 'Content-Length', 'Content-Range', 'Accept-Ranges', 'Via', 'X-Request-Id'];

/**
 * @param {(name: string) => string | null} get
 * @returns {{ word: string, age: number, detail: string, headers: [string, string][] }}
 */
export function readVerdict(get) {
  const status = get('Cache-Status') ?? '';
  // Cache-Status (RFC 9211) is the standard; X-Cache is the same word in one token.
  const word = (get('X-Cache') ?? '').trim().split(/[\s,;]/)[0].toUpperCase()
    || (/;\s*hit\b/.test(status) ? 'HIT' : /;\s*fwd=stale\b/.test(status) ? 'STALE' : /;\s*fwd=/.test(status) ? 'MISS' : '');
  const seconds = get('Age');
  return {
    word,
    age: seconds === null ? NaN : Number.parseInt(seconds, 10),
    detail: /;\s*detail="?([^";]+)/.exec(status)?.[1] ?? '',
    headers: telling.map((name) => [name, get(name)]).filter(([, value]) => value !== null),
  };
}

/**
 * Fetches past the browser's own cache, which would repeat the headers of an earlier visit. In mode `no-store`
 * a browser adds `Cache-Control: no-cache` by itself, and a cache would rightly obey it; a limit that nothing reaches
 * takes its place.
 */
export async function load(url, { headers = {}, method = 'GET', signal } = {}) {
  const started = performance.now();
  const response = await fetch(url, {
    method, signal, cache: 'no-store', headers: { 'Cache-Control': 'max-age=31536000', Pragma: 'x', ...headers },
  });
  const blob = await response.blob();
  return {
    ok: response.ok, status: response.status, blob, bytes: blob.size, ms: performance.now() - started,
    verdict: readVerdict((name) => response.headers.get(name)),
  };
}

/** Whether the body came out of the cache, freshly stored or confirmed. */
export const fromCache = (verdict) => ['HIT', 'STALE', 'REVALIDATED'].includes(verdict.word);

const meaning = {
  HIT: 'answered from the cache', MISS: 'fetched or made for this request, and now kept', STALE: 'answered from the cache past its freshness',
  BYPASS: 'not for the cache', REVALIDATED: 'the origin confirmed the cached copy', BROWSER: 'answered by this browser’s own cache',
};

/** @param {{word: string, age: number, detail?: string}} verdict */
export function badge(verdict, status = 200) {
  const element = document.createElement('span');
  const failed = status >= 400;
  const word = failed ? `${status}` : verdict.word || 'no verdict';
  element.className = 'badge';
  element.dataset.verdict = failed ? 'ERROR' : verdict.word || 'NONE';
  element.textContent = word;
  if (!failed && verdict.word !== 'MISS' && Number.isFinite(verdict.age)) {
    const since = document.createElement('small');
    since.textContent = age(verdict.age);
    element.append(' ', since);
  }
  element.title = [failed ? 'refused or failed' : meaning[verdict.word], verdict.detail].filter(Boolean).join(' · ');
  return element;
}
