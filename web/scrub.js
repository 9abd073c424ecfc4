// The timeline: where the video is, what of it is loaded, and a picture of the place that the pointer is at.

import { clock } from './units.js';

/** Seconds of `hh:mm:ss.ttt` or `mm:ss.ttt`. */
const seconds = (stamp) => stamp.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);

/** Cues of a storyboard: when, on which sprite, and where on it. */
export function parseStoryboard(text, base) {
  const cues = [];
  for (const block of text.split(/\n\s*\n/)) {
    const found = /([\d:.]+) --> ([\d:.]+)[^\n]*\n(.+)#xywh=(\d+),(\d+),(\d+),(\d+)/.exec(block);
    if (!found) continue;
    const [x, y, width, height] = found.slice(4).map(Number);
    cues.push({ start: seconds(found[1]), end: seconds(found[2]), url: new URL(found[3], base).href, x, y, width, height });
  }
  return cues;
}

export class Timeline {
  #video; #seek; #tip; #picture; #label; #cues = []; #held = false;

  /** @param {HTMLVideoElement} video */
  constructor(video, { timeline, seek, tip, picture, label }) {
    this.#video = video; this.#seek = seek; this.#tip = tip; this.#picture = picture; this.#label = label;
    seek.addEventListener('input', () => { this.#held = true; this.#show(Number(seek.value)); });
    seek.addEventListener('change', () => { this.#held = false; video.currentTime = Number(seek.value); });
    timeline.addEventListener('pointermove', (event) => this.#show(this.#timeAt(event.clientX)));
    timeline.addEventListener('pointerleave', () => { tip.hidden = true; });
    for (const name of ['timeupdate', 'progress', 'seeked', 'durationchange', 'emptied']) video.addEventListener(name, () => this.draw());
  }

  /** Looks for pictures of this source. Without them there are times alone. */
  async load(storyboard) {
    this.#cues = [];
    const response = await fetch(storyboard).catch(() => null);
    if (response?.ok) this.#cues = parseStoryboard(await response.text(), response.url);
  }

  /** Loaded seconds ahead of what is shown. */
  ahead() {
    const { buffered, currentTime } = this.#video;
    for (let i = 0; i < buffered.length; i++) {
      if (buffered.start(i) <= currentTime + 0.1 && buffered.end(i) > currentTime) return buffered.end(i) - currentTime;
    }
    return 0;
  }

  draw() {
    const { duration, currentTime } = this.#video;
    const known = Number.isFinite(duration) && duration > 0;
    this.#seek.max = known ? duration : 0;
    this.#seek.disabled = !known;
    if (!known) return;
    if (!this.#held) this.#seek.value = currentTime;
    this.#seek.setAttribute('aria-valuetext', `${clock(currentTime)} of ${clock(duration)}`);
    this.#seek.style.setProperty('--played', `${(Number(this.#seek.value) / duration) * 100}%`);
    this.#seek.style.setProperty('--ahead', `${((currentTime + this.ahead()) / duration) * 100}%`);
  }

  #timeAt(clientX) {
    const { left, width } = this.#seek.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (clientX - left) / width));
    return part * (Number(this.#seek.max) || 0);
  }

  #show(time) {
    const total = Number(this.#seek.max) || 0;
    if (!total) return;
    const cue = this.#cues.find(({ start, end }) => time >= start && time < end) ?? this.#cues.at(-1);
    this.#picture.hidden = !cue;
    if (cue) {
      Object.assign(this.#picture.style, {
        width: `${cue.width}px`, height: `${cue.height}px`, backgroundImage: `url("${cue.url}")`, backgroundPosition: `-${cue.x}px -${cue.y}px`,
      });
    }
    this.#label.textContent = clock(time);
    this.#tip.hidden = false;
    const { width } = this.#seek.getBoundingClientRect();
    const half = this.#tip.offsetWidth / 2;
    this.#tip.style.left = `${Math.min(width - half, Math.max(half, (time / total) * width))}px`;
  }
}
