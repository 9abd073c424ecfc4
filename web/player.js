// The player page: one video through HLS or as a progressive file, and a log of every request that took.

import { Timeline } from './scrub.js';
import { Stats } from './stats.js';
import { age, assetUrl, bytes, clock, millis, playerUrl, posterUrl } from './units.js';
import { badge, fromCache, load, readVerdict } from './verdict.js';

/** Requests kept in the log; the oldest leave first. */
const LOG_ROWS = 300;

const $ = (id) => document.getElementById(id);
const video = $('video'), quality = $('quality'), captions = $('captions'), fault = $('fault'), log = $('log');
const timeline = new Timeline(video, { timeline: $('timeline'), seek: $('seek'), tip: $('tip'), picture: $('tip-picture'), label: $('tip-time') });
const stats = new Stats($('stats'), {
  rung: $('stat-rung'), picture: $('stat-picture'), buffer: $('stat-buffer'), throughput: $('stat-throughput'), dropped: $('stat-dropped'),
  segments: $('stat-segments'), hits: $('stat-hits'),
});

let hls = null;
const seen = { requests: 0, hits: 0, bytes: 0 };

/** The path given by ?src=, or null when it is missing or points elsewhere. */
function source() {
  const given = new URLSearchParams(location.search).get('src');
  if (!given) return null;
  try {
    // A plain path, as index.json has it; `?` and `#` in it belong to the name.
    const url = new URL(given.startsWith('http') ? given : assetUrl(given), location.origin);
    return url.origin === location.origin ? decodeURIComponent(url.pathname).slice(1) : null;
  } catch {
    return null;
  }
}

function say(message) {
  fault.textContent = message;
  fault.hidden = !message;
}

// ------------------------------------------------------------------------------------------------------- playing

function playHls(path) {
  const url = `${assetUrl(path)}/master.m3u8`;
  if (!window.Hls?.isSupported()) {
    if (!video.canPlayType('application/vnd.apple.mpegurl')) return say('This browser plays no HLS. Choose “Progressive MP4”.');
    video.src = url;
    $('playing').textContent = 'HLS, by the browser itself';
    return;
  }
  hls = new window.Hls({ loader: loggingLoader(window.Hls.DefaultConfig.loader), maxBufferLength: 20, backBufferLength: 30 });
  hls.on(window.Hls.Events.MANIFEST_PARSED, (_, { levels }) => {
    quality.replaceChildren(new Option('Auto', '-1'), ...levels.map((level, i) => new Option(levelName(level), String(i))).reverse());
    quality.disabled = false;
    begin();
  });
  hls.on(window.Hls.Events.SUBTITLE_TRACKS_UPDATED, (_, { subtitleTracks }) => listCaptions(subtitleTracks.map(({ name }) => name)));
  hls.on(window.Hls.Events.LEVEL_SWITCHED, (_, { level }) => {
    $('playing').textContent = levelName(hls.levels[level]);
    quality.options[0].text = hls.autoLevelEnabled ? `Auto (${levelName(hls.levels[level])})` : 'Auto';
  });
  hls.on(window.Hls.Events.ERROR, (_, error) => {
    if (!error.fatal) return;
    console.error('hls.js stopped:', error.details);
    say(`HLS stopped: ${faultOf(error)}. “Progressive MP4” plays the file itself.`);
    hls.destroy();
    hls = null;
  });
  hls.loadSource(url);
  hls.attachMedia(video);
}

/** `source` is what was uploaded; the others are transcoded from it. */
function levelName(level) {
  const rung = level.name || (/\/([^/]+)\/index\.m3u8/.exec(level.url?.[0] ?? level.uri ?? '')?.[1] ?? '');
  const lines = level.height ? `${Math.min(level.width, level.height)}p` : '';
  return [lines, rung === lines ? '' : rung].filter(Boolean).join(' ') || `${Math.round(level.bitrate / 1000)} kbit/s`;
}

function faultOf(error) {
  const status = error.response?.code;
  if (status === 404) return 'there is no such video';
  if (status >= 400) return `the server answered ${status}`;
  return { networkError: 'the server cannot be reached', mediaError: 'the browser cannot decode it' }[error.type] ?? error.details;
}

async function playProgressive(path) {
  quality.replaceChildren(new Option('As stored', '-1'));
  quality.disabled = true;
  $('playing').textContent = 'Progressive MP4';
  video.src = assetUrl(path);
  begin();
  addTracks(path);
  // The element keeps its responses to itself; the same ranges, asked for once more, show where they come from.
  for (const [range, label] of [['bytes=0-65535', 'first 64 KiB'], ['bytes=-65536', 'last 64 KiB']]) {
    const result = await load(assetUrl(path), { headers: { Range: range } }).catch(() => null);
    if (result) record({ path: `${assetUrl(path)} (${label})`, status: result.status, bytes: result.bytes, ms: result.ms, verdict: result.verdict });
  }
}

// ------------------------------------------------------------------------------------------------------ captions

/** Keeps the choice where the new list has it, too. */
function listCaptions(names) {
  const chosen = captions.selectedOptions[0]?.text;
  captions.replaceChildren(new Option('Off', '-1'), ...names.map((name, i) => new Option(name, String(i))));
  captions.disabled = names.length === 0;
  const kept = names.indexOf(chosen);
  if (kept >= 0) captions.value = String(kept);
  chooseCaptions();
}

function chooseCaptions() {
  const chosen = Number(captions.value);
  if (hls) {
    hls.subtitleDisplay = chosen >= 0;
    hls.subtitleTrack = chosen;
    return;
  }
  [...video.querySelectorAll('track')].forEach(({ track }, i) => { track.mode = i === chosen ? 'showing' : 'disabled'; });
}

/** A file plays with the subtitles that its playlist names. */
async function addTracks(path) {
  const base = assetUrl(path);
  const playlist = await fetch(`${base}/master.m3u8`).then((response) => (response.ok ? response.text() : '')).catch(() => '');
  const tracks = playlist.split('\n').filter((line) => line.startsWith('#EXT-X-MEDIA:TYPE=SUBTITLES')).map((line) => {
    const track = document.createElement('track');
    track.kind = 'subtitles';
    track.label = /NAME="([^"]+)"/.exec(line)?.[1] ?? '';
    track.srclang = /LANGUAGE="([^"]+)"/.exec(line)?.[1] ?? '';
    track.src = `${base}/subtitles/${track.srclang}.vtt`;
    return track;
  });
  if (hls) return; // Changed meanwhile.
  video.append(...tracks);
  listCaptions(tracks.map(({ label }) => label));
}

/** Plays with sound where the browser allows it unasked, and without where it does not. */
async function begin() {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== 'NotAllowedError') return;
    video.muted = true;
    $('sound').hidden = false;
    await video.play().catch(() => {});
  }
}

function start(path, delivery, at = 0) {
  hls?.destroy();
  hls = null;
  video.querySelectorAll('track').forEach((track) => track.remove());
  video.removeAttribute('src');
  video.load();
  say('');
  if (at > 0) video.addEventListener('loadedmetadata', () => { video.currentTime = at; }, { once: true });
  if (delivery === 'hls') playHls(path);
  else playProgressive(path);
}

// --------------------------------------------------------------------------------------------------- request log

/** hls.js's own loader, with each answer noted on its way. */
function loggingLoader(Loader) {
  return class extends Loader {
    load(context, config, callbacks) {
      const note = (status, stats, request) => {
        const url = new URL(context.url, location.href);
        const timing = performance.getEntriesByName(url.href, 'resource').at(-1);
        const verdict = readVerdict((name) => request?.getResponseHeader?.(name) ?? null);
        // transferSize 0 with a body: the browser did not ask the server at all.
        if (timing && timing.transferSize === 0 && timing.decodedBodySize > 0) Object.assign(verdict, { word: 'BROWSER', age: NaN });
        record({ path: url.pathname + url.search, status, bytes: stats.total || stats.loaded, ms: stats.loading.end - stats.loading.start, verdict });
      };
      super.load(context, config, {
        ...callbacks,
        onSuccess: (response, stats, ctx, request) => {
          note(response.code ?? 200, stats, request);
          callbacks.onSuccess(response, stats, ctx, request);
        },
        onError: (error, ctx, request, stats) => {
          note(error.code || 599, stats, request);
          callbacks.onError(error, ctx, request, stats);
        },
      });
    }
  };
}

function record({ path, status, bytes: size, ms, verdict }) {
  stats.answered({ path, status, verdict });
  seen.requests++;
  seen.hits += fromCache(verdict) ? 1 : 0;
  seen.bytes += size;
  const line = document.createElement('tr');
  const cell = (content, className = '') => {
    const td = document.createElement('td');
    td.className = className;
    td.append(content);
    line.append(td);
    return td;
  };
  cell(badge({ ...verdict, age: NaN }, status));
  // The name matters most on a narrow screen: show the end of the path, keep the whole as a tip.
  const short = path.split('/').slice(-2).join('/');
  const where = cell(short, 'path');
  where.title = [path, ...verdict.headers.map(([name, value]) => `${name}: ${value}`)].join('\n');
  cell(bytes(size), 'number');
  cell(millis(ms), 'number');
  cell(age(verdict.age) || '–', 'number wide');
  log.prepend(line);
  while (log.rows.length > LOG_ROWS) log.deleteRow(-1);
  $('log-count').textContent = `${seen.requests} · ${seen.hits} from the cache · ${bytes(seen.bytes)}`;
}

// ------------------------------------------------------------------------------------------- figures and controls

function figures() {
  const buffered = `${timeline.ahead().toFixed(1)} s`;
  const frames = video.getVideoPlaybackQuality?.();
  const dropped = frames?.totalVideoFrames ? `${frames.droppedVideoFrames} of ${frames.totalVideoFrames}` : '–';
  const throughput = hls?.bandwidthEstimate ? `${(hls.bandwidthEstimate / 1e6).toFixed(0)} Mbit/s` : '–';
  const picture = video.videoWidth ? `${video.videoWidth} × ${video.videoHeight}` : '–';
  $('buffered').textContent = buffered;
  $('dropped').textContent = dropped;
  $('throughput').textContent = throughput;
  stats.show({ rung: $('playing').textContent, picture, buffer: buffered, throughput, dropped });
  $('time').textContent = `${clock(video.currentTime)} / ${clock(video.duration) || '–'}`;
  if (Number.isFinite(video.duration)) $('summary').textContent = `${clock(video.currentTime)} of ${clock(video.duration)} · ${picture}`;
}

function buttons() {
  const [play, mute] = [$('play'), $('mute')];
  play.textContent = video.paused ? '▶' : '❚❚';
  play.setAttribute('aria-label', video.paused ? 'Play' : 'Pause');
  mute.setAttribute('aria-pressed', String(video.muted));
  mute.setAttribute('aria-label', video.muted ? 'Turn sound on' : 'Turn sound off');
  mute.textContent = video.muted ? '✕♪' : '♪';
}

const act = {
  play: () => (video.paused ? video.play().catch(() => {}) : video.pause()),
  by: (seconds) => { video.currentTime = Math.min(video.duration || 0, Math.max(0, video.currentTime + seconds)); },
  mute: () => { video.muted = !video.muted; },
  full: () => (document.fullscreenElement ? document.exitFullscreen() : $('stage').requestFullscreen?.()),
  stats: () => { $('stats-toggle').setAttribute('aria-pressed', String(stats.toggle())); },
  /** The first language, and off again. */
  captions: () => {
    if (captions.disabled) return;
    captions.value = captions.value === '-1' ? '0' : '-1';
    chooseCaptions();
  },
  /** One better or worse in the order of the menu, where the best comes first after Auto. */
  quality: (step) => {
    if (quality.disabled) return;
    quality.selectedIndex = Math.min(quality.options.length - 1, Math.max(0, quality.selectedIndex + step));
    chooseQuality();
  },
};

function chooseQuality() {
  if (hls) hls.nextLevel = Number(quality.value);
}

const keys = {
  ' ': act.play, k: act.play, m: act.mute, f: act.full, i: act.stats, c: act.captions,
  ArrowLeft: () => act.by(-5), ArrowRight: () => act.by(5), j: () => act.by(-10), l: () => act.by(10), '>': () => act.quality(-1), '<': () => act.quality(1),
};

document.addEventListener('keydown', (event) => {
  // Controls keep their own keys; the timeline's are those of the page.
  const own = event.target.closest?.('select, input:not(#seek), button, a, .scroll');
  if (event.ctrlKey || event.metaKey || event.altKey || own) return;
  const digit = /^[0-9]$/.test(event.key) && Number.isFinite(video.duration);
  const found = digit ? () => { video.currentTime = (video.duration * Number(event.key)) / 10; } : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!found) return;
  event.preventDefault();
  found();
});

async function listOthers(current) {
  const index = await fetch('/index.json').then((response) => (response.ok ? response.json() : null)).catch(() => null);
  const items = (Array.isArray(index?.items) ? index.items : []).filter((item) => item?.kind === 'video' && typeof item.path === 'string');
  const own = items.find((item) => item.path === current);
  if (own?.title) document.title = $('title').textContent = own.title;
  const others = items.filter((item) => item !== own);
  $('more-list').append(...others.map((item) => {
    const link = document.createElement('a');
    link.href = playerUrl(item.path);
    const image = document.createElement('img');
    image.src = posterUrl(item.path, 320);
    image.alt = '';
    image.loading = 'lazy';
    const name = document.createElement('span');
    name.textContent = `${item.title || item.path} ${clock(item.duration)}`;
    link.append(image, name);
    return link;
  }));
  $('more').hidden = others.length === 0;
}

const path = source();
if (path) {
  performance.setResourceTimingBufferSize?.(2000);
  document.title = $('title').textContent = path.split('/').pop();
  video.poster = posterUrl(path, 1280);
  const chosen = () => document.querySelector('input[name=delivery]:checked').value;
  for (const input of document.querySelectorAll('input[name=delivery]')) {
    input.addEventListener('change', () => start(path, chosen(), video.currentTime));
  }
  quality.addEventListener('change', chooseQuality);
  captions.addEventListener('change', chooseCaptions);
  for (const [id, name] of [['play', 'play'], ['mute', 'mute'], ['full', 'full'], ['stats-toggle', 'stats'], ['video', 'play']]) {
    $(id).addEventListener('click', () => act[name]());
  }
  for (const name of ['play', 'pause', 'volumechange', 'emptied']) video.addEventListener(name, buttons);
  $('download').href = `${assetUrl(path)}?download`;
  $('download').hidden = false;
  timeline.load(`${assetUrl(path)}/storyboard.vtt`);
  $('sound').addEventListener('click', () => { video.muted = false; });
  video.addEventListener('volumechange', () => { if (!video.muted) $('sound').hidden = true; });
  video.addEventListener('error', () => {
    if (!hls && video.error && video.getAttribute('src')) say(`The video cannot be played: ${video.error.message || 'it is missing, or of a kind this browser does not know'}.`);
  });
  for (const name of ['timeupdate', 'progress', 'seeked', 'loadedmetadata']) video.addEventListener(name, figures);
  start(path, chosen());
  listOthers(path);
} else {
  say('Which video? Give its path: /_millrace/player?src=/videos/clip.mp4');
  listOthers(null);
}
