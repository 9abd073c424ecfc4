// What the page knows of PromQL: words to complete, where in a text one is, what an error is about, and matchers as people write
// them. Whether an expression is right only the sidecar says.

export const AGGREGATIONS = ['sum', 'avg', 'min', 'max', 'count', 'topk', 'bottomk', 'quantile', 'stddev', 'stdvar', 'count_values', 'group'];

const FUNCTIONS = {
  rate: 'per-second increase of a counter over a range', irate: 'per-second increase between the last two samples', increase: 'increase of a counter over a range',
  delta: 'change of a gauge over a range', idelta: 'change between the last two samples', deriv: 'per-second slope of a gauge', predict_linear: 'a gauge, so many seconds on', resets: 'resets of a counter', changes: 'changes of a value',
  histogram_quantile: 'quantile of a histogram’s buckets', avg_over_time: 'mean over a range', min_over_time: 'lowest over a range', max_over_time: 'highest over a range', sum_over_time: 'sum over a range',
  count_over_time: 'samples in a range', quantile_over_time: 'quantile over a range', stddev_over_time: 'deviation over a range', last_over_time: 'newest in a range', present_over_time: '1 where there is a sample',
  absent: '1 when nothing matches', absent_over_time: '1 when nothing matched in a range', label_replace: 'sets a label by a pattern', label_join: 'sets a label from others',
  clamp: 'between two bounds', clamp_min: 'at least', clamp_max: 'at most', abs: 'without sign', ceil: 'up to a whole number', floor: 'down to a whole number', round: 'to the nearest', sqrt: 'square root', exp: 'e to the power of', ln: 'natural logarithm', log2: 'binary logarithm', log10: 'decimal logarithm', sgn: 'the sign',
  scalar: 'one series as a number', vector: 'a number as a series', sort: 'ascending', sort_desc: 'descending', time: 'now, in Unix seconds', timestamp: 'when the sample was taken',
  hour: 'hour of the day, UTC', minute: 'minute of the hour', day_of_week: '0 is Sunday', day_of_month: 'from 1', month: 'from 1', year: 'UTC',
};
const DURATIONS = ['30s', '1m', '5m', '15m', '1h', '6h', '1d'];
const GROUPING = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)$/;

/** Everything before the caret that is not inside a string. */
function insideString(before) {
  let quote = '';
  for (let at = 0; at < before.length; at++) {
    if (quote && before[at] === '\\') at++;
    else if (quote) { if (before[at] === quote) quote = ''; } else if ('"\'`'.includes(before[at])) quote = before[at];
  }
  return Boolean(quote);
}

/**
 * What could stand at the caret: {kind: 'word' | 'label' | 'value' | 'duration', typed, from, metric?, label?}; `from` is where what
 * has been typed begins.
 */
export function situation(text, caret) {
  const before = text.slice(0, caret);
  const value = /([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"([^"]*)$/.exec(before);
  const braces = before.lastIndexOf('{') > before.lastIndexOf('}');
  const metric = braces ? /([a-zA-Z_:][\w:]*)\s*\{[^{}]*$/.exec(before)?.[1] : undefined;
  if (braces && value) return { kind: 'value', typed: value[2], from: caret - value[2].length, metric, label: value[1] };
  if (insideString(before)) return null;
  const typed = /[a-zA-Z_:][\w:]*$/.exec(before)?.[0] ?? '';
  const from = caret - typed.length;
  if (braces) return /(?:[{,]\s*)$/.test(before.slice(0, from)) ? { kind: 'label', typed, from, metric } : null;
  if (GROUPING.test(before)) return { kind: 'label', typed, from, metric: /([a-zA-Z_:][\w:]*)\s*[{[]/.exec(text)?.[1] };
  const duration = /\[(\w*)$/.exec(before);
  if (duration) return { kind: 'duration', typed: duration[1], from: caret - duration[1].length };
  return { kind: 'word', typed, from };
}

/** [{text, insert, note, kind}] that fit what is typed, the best first. `metrics` is a Map of names to {type, help}. */
export function fitting(typed, metrics) {
  const words = [
    ...AGGREGATIONS.map((name) => ({ text: name, insert: `${name}(`, note: 'aggregation', kind: 'ƒ' })),
    ...Object.entries(FUNCTIONS).map(([name, note]) => ({ text: name, insert: `${name}(`, note, kind: 'ƒ' })),
    ...[...metrics].map(([name, { type, help }]) => ({ text: name, insert: name, note: help || type || '', kind: 'm' })),
  ];
  return ranked(words, typed);
}

export const durations = (typed) => ranked(DURATIONS.map((text) => ({ text, insert: `${text}]`, note: '', kind: 't' })), typed);

/** Beginnings first, then beginnings of parts of a name, then what contains it. */
export function ranked(words, typed) {
  const wanted = typed.toLowerCase();
  const rank = ({ text }) => {
    const name = text.toLowerCase();
    if (name === wanted) return wanted ? 0.5 : 1;
    if (name.startsWith(wanted)) return 1;
    if (name.includes(`_${wanted}`)) return 2;
    return name.includes(wanted) ? 3 : 9;
  };
  return words.map((word) => [rank(word), word]).filter(([place]) => place < 9)
    .sort(([a, { text: one }], [b, { text: other }]) => a - b || one.length - other.length || one.localeCompare(other)).map(([, word]) => word);
}

/** Of brackets outside of strings: the first that has no partner. */
function unpaired(text) {
  const open = [];
  const partner = { ')': '(', ']': '[', '}': '{' };
  for (let at = 0; at < text.length; at++) {
    if (insideString(text.slice(0, at))) continue;
    if ('([{'.includes(text[at])) open.push(at);
    else if (partner[text[at]] && text[open.pop()] !== partner[text[at]]) return at;
  }
  return open.pop() ?? -1;
}

/** The part of the expression that an error of the sidecar is about: [from, to], or null when it cannot be told. */
export function blamed(text, message) {
  const named = /(?:'([^']+)'|syntax: (\S+)|regex for (\S+))/.exec(message);
  const name = named?.[1] ?? named?.[2] ?? named?.[3];
  if (name && name.length > 1) {
    const at = text.indexOf(name);
    if (at >= 0) return [at, at + name.length];
  }
  if (/paren|brace|bracket|end of input|string/i.test(message)) {
    const at = unpaired(text);
    if (at >= 0) return [at, at + 1];
  }
  const dangling = /(?:[-+*/%^,]|\b(?:and|or|unless|by|without|on|ignoring))\s*$/.exec(text);
  return dangling ? [dangling.index, text.trimEnd().length] : null;
}

/** `alertname="X", instance=~"edge-.*"`, with commas or line breaks between; throws what is wrong. */
export function matchers(text) {
  const found = [];
  let rest = text.trim().replace(/^\{|\}$/g, '');
  while (rest.trim()) {
    const part = /^\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)\s*(?:[,\n]+|$)/.exec(rest);
    if (!part) throw new Error(`cannot read “${rest.trim().split('\n')[0]}”: matchers look like instance="edge-1" or job=~"edge.*"`);
    const [whole, name, operator, raw] = part;
    const value = raw.startsWith('"') ? JSON.parse(raw) : raw;
    found.push({ name, value, isRegex: operator.endsWith('~'), isEqual: operator.startsWith('=') });
    rest = rest.slice(whole.length);
  }
  if (!found.length) throw new Error('name at least one label, such as alertname="TargetDown"');
  return found;
}

export const written = ({ name, value, isRegex, isEqual }) => `${name}${isEqual ? '=' : '!'}${isRegex ? '~' : isEqual ? '' : '='}${JSON.stringify(value)}`;
