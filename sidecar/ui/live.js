// News from the sidecar as they happen, and the fallback: asking now and then. A page in the background keeps no connection: a
// browser has only six for all of its pages.

const KINDS = ['alert', 'targets', 'decision', 'instance', 'missed'];
/** After a stream was refused. */
const TRY_AGAIN_MS = 30_000;

export class Live {
  /** `heard(kind, data)`; `changed(on)` when the stream begins or breaks. */
  constructor(heard, changed) {
    this.heard = heard;
    this.changed = changed;
    /** Not known before the first answer. */
    this.on = null;
    document.addEventListener('visibilitychange', () => (document.hidden ? this.close() : this.open()));
    addEventListener('pagehide', () => this.close());
    this.open();
  }

  open() {
    if (this.source || document.hidden || !('EventSource' in window)) return;
    clearTimeout(this.retry);
    this.source = new EventSource('/api/v1/events');
    this.source.addEventListener('open', () => this.set(true));
    this.source.addEventListener('error', () => {
      this.set(false);
      // The browser tries again by itself, unless it was told no.
      if (this.source?.readyState === EventSource.CLOSED) {
        this.close();
        this.retry = setTimeout(() => this.open(), TRY_AGAIN_MS);
      }
    });
    for (const kind of KINDS) {
      this.source.addEventListener(kind, (event) => {
        let data = null;
        try { data = JSON.parse(event.data); } catch { /* It happened; what exactly is asked for. */ }
        this.heard(kind, data);
      });
    }
  }

  close() {
    this.source?.close();
    this.source = null;
    this.set(false);
  }

  set(on) {
    if (this.on === on) return;
    this.on = on;
    this.changed(on);
  }
}
