// Charts that are told what to ask: each names its queries, and how rows are made of the answers.

import { Chart } from './charts.js';
import { box, link } from './dom.js';

export const named = (rows, label, otherwise = 'all') => rows.map((row) => ({ name: row.labels[label] ?? otherwise, values: row.values }));
export const single = (rows, name) => (rows.length ? [{ name, values: rows[0].values }] : []);
export const last = (values) => values?.findLast((value) => value != null) ?? null;

export const SERIES = ['--one', '--two', '--three', '--four', '--five', '--six', '--seven', '--eight'];
export const inTurn = (_, at) => SERIES[at % SERIES.length];

/** φ-quantile of a histogram, from summed buckets: an average of quantiles means nothing. */
export const quantile = (phi, histogram, w, by = '', where = '') =>
  `histogram_quantile(${phi}, sum by (${by ? `${by}, ` : ''}le) (rate(${histogram}_bucket${where}[${w}])))`;

export class Panels {
  /** specs: [{queries: {name: (window) => text}, rows: (got) => [{name, values}], ...spec of the chart}] */
  constructor(specs, heading) {
    this.panels = specs.map((spec) => ({ spec, chart: new Chart(spec) }));
    this.root = box('div', 'charts', ...this.panels.map(({ chart }) => chart.root));
    if (heading) this.root.setAttribute('aria-label', heading);
    for (const { chart, spec } of this.panels) {
      chart.say('Asking…');
      chart.more = link('#/explore', 'Query', 'chart-link');
      chart.more.setAttribute('aria-label', `The query of ${spec.title} in Explore`);
      chart.tools.prepend(chart.more);
    }
  }

  refresh(ctx) {
    return Promise.all(this.panels.map((panel) => this.draw(panel, ctx)));
  }

  async draw({ spec, chart }, ctx) {
    const names = Object.keys(spec.queries);
    const texts = names.map((name) => spec.queries[name](ctx.window));
    chart.more.href = `#/explore?${new URLSearchParams({ expr: texts[0], range: ctx.rangeName })}`;
    const answers = await Promise.allSettled(texts.map((text) => ctx.range(text)));
    const broken = answers.find((answer) => answer.status === 'rejected');
    if (broken) {
      if (broken.reason.answered) chart.say('This query failed', broken.reason.message);
      else if (!chart.u) chart.say('No answer from the sidecar');
      return;
    }
    const got = Object.fromEntries(names.map((name, at) => [name, answers[at].value]));
    const rows = spec.rows(got);
    const measured = rows.some((row) => row.values.some((value) => value != null));
    if (measured) chart.show(ctx.times, rows);
    else chart.say(...(ctx.whyEmpty() ?? [spec.empty ?? 'Nothing measured in this range']));
  }

  close() {
    for (const { chart } of this.panels) chart.forget();
  }
}
