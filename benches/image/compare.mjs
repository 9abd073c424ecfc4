// Takes turns between the bench program and sharp, and prints a Markdown table of medians and their ratios.
// node compare.mjs BENCH PHOTO… ; ROUNDS (15) measurements of each case and side.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const [program, ...photos] = process.argv.slice(2);
const rounds = Number(process.env.ROUNDS ?? 15);
const only = process.env.ONLY ? new RegExp(process.env.ONLY) : /./;
const scratch = mkdtempSync(join(tmpdir(), 'bench-image-'));
const rival = fileURLToPath(new URL('rival.mjs', import.meta.url));

// A process that answers line by line.
function worker(command, args, env = {}) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async ask(job) {
      child.stdin.write(`${JSON.stringify(job)}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`${command} ended`);
      return JSON.parse(value);
    },
    end: () => child.stdin.end(),
  };
}

const sides = {
  ours: () => worker(program, []),
  sharp: () => worker(process.execPath, [rival], { UV_THREADPOOL_SIZE: '1', VIPS_CONCURRENCY: '1' }),
};

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

const SOURCES = {
  'JPEG 12 MP': { width: 4000, format: 'jpg', progressive: false },
  'JPEG 12 MP progressive': { width: 4000, format: 'jpg', progressive: true },
  'JPEG 2 MP': { width: 1632, format: 'jpg', progressive: false },
  'PNG 12 MP': { width: 4000, format: 'png', filtered: false },
  'PNG 12 MP filtered': { width: 4000, format: 'png', filtered: true },
};
// Source, width, and what share of sharp's CPU time is wanted; format and quality, of sharp where its numbers mean something else.
const CASES = [
  ['JPEG 12 MP', 320, 0.8],
  ['JPEG 2 MP', 320, 0.75],
  ['JPEG 12 MP', 1280, 0.85],
  ['JPEG 12 MP progressive', 320, 0.4],
  ['PNG 12 MP', 320, 0.65],
  ['PNG 12 MP filtered', 320, 0.65],
  ['JPEG 2 MP', 640, undefined, 'avif', 80, 55],
];

try {
  const ours = sides.ours();
  const sharp = sides.sharp();
  const file = (...parts) => join(scratch, parts.join('-').replaceAll(' ', '_'));
  const rows = [];
  const chosen = CASES.filter(([name, width, , fm = 'webp']) => only.test(`${name} ${width} ${fm}`));
  for (const [name, width, wanted, fm = 'webp', q = 80, theirs = q] of chosen) {
    const queries = { ours: `w=${width}&fm=${fm}&q=${q}`, sharp: `w=${width}&fm=${fm}&q=${theirs}` };
    const each = [];
    for (const [number, photo] of photos.entries()) {
      const source = file(name, number);
      await sharp.ask({ do: 'photo', source: photo, out: source, ...SOURCES[name] });
      const reference = file('reference', name, width, number);
      await sharp.ask({ do: 'reference', source, width, out: reference });
      const result = { ours: {}, sharp: {} };
      const turns = { ours, sharp };
      for (const [side, turn] of Object.entries(turns)) {
        const out = file(side, name, width, fm, number);
        const query = queries[side];
        await turn.ask({ do: 'transform', source, query, out });
        const made = await turn.ask({ do: 'transform', source, query });
        result[side] = { ...(await ours.ask({ do: 'compare', reference, picture: out })), bytes: made.bytes, ms: [], cpu: [] };
        // Memory in a process that has done nothing else.
        const fresh = sides[side]();
        const { peak_kib, total_kib } = await fresh.ask({ do: 'transform', source, query });
        fresh.end();
        Object.assign(result[side], { peak: peak_kib / 1024, total: total_kib / 1024 });
      }
      for (let round = 0; round < rounds; round++) {
        for (const [side, turn] of Object.entries(turns)) {
          const { ms, cpu_ms } = await turn.ask({ do: 'transform', source, query: queries[side] });
          result[side].ms.push(ms);
          result[side].cpu.push(cpu_ms);
        }
      }
      each.push(result);
    }
    const of = (side, field) => each.map((result) => (Array.isArray(result[side][field]) ? median(result[side][field]) : result[side][field]));
    const sums = (field) => ['ours', 'sharp'].map((side) => mean(of(side, field)));
    const [[oursMs, sharpMs], [oursCpu, sharpCpu], [oursBytes, sharpBytes], [oursScore, sharpScore], [oursSsim, sharpSsim]] = ['ms', 'cpu', 'bytes', 'ssimulacra2', 'ssim'].map(sums);
    const [[oursPeak, sharpPeak], [oursTotal, sharpTotal]] = ['peak', 'total'].map(sums);
    const two = (a, b, digits) => `${a.toFixed(digits)} / ${b.toFixed(digits)}`;
    rows.push([
      `${name} → ${width}, ${fm} q${theirs === q ? q : `${q} / q${theirs}`}`,
      two(oursMs, sharpMs, 1),
      two(oursCpu, sharpCpu, 1),
      `${(oursCpu / sharpCpu).toFixed(2)}${wanted ? ` (≤ ${wanted})` : ''}`,
      `${two(oursBytes, sharpBytes, 0)} (${((oursBytes / sharpBytes - 1) * 100).toFixed(1)} %)`,
      `${two(oursScore, sharpScore, 1)} (${(oursScore - sharpScore).toFixed(1)})`,
      two(oursSsim, sharpSsim, 4),
      `${two(oursPeak, sharpPeak, 0)} (${(oursPeak / sharpPeak).toFixed(2)})`,
      two(oursTotal, sharpTotal, 0),
    ]);
    process.stderr.write(`${rows.at(-1).join(' | ')}\n`);
  }
  ours.end();
  sharp.end();
  const head = ['ours / sharp', 'wall ms', 'CPU ms', 'CPU ratio (wanted)', 'bytes', 'SSIMULACRA2', 'SSIM', 'peak of the job, MiB', 'process, MiB'];
  for (const row of [head, head.map(() => '---'), ...rows]) console.log(`| ${row.join(' | ')} |`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
