// The same jobs by sharp, in the same words as the bench program takes them: a job per line in, its figures per line out.
// One thread, no cache. `make` produces sources and references.
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import sharp from 'sharp';

sharp.concurrency(1);
sharp.cache(false);
sharp.simd(true);

const memory = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))[1]);

// What the query asks for in sharp's words: a width, and the encoder's default effort; of AVIF halved chroma, as ours has it.
function pipeline(source, query) {
  const { w, q = 80, fm = 'webp' } = Object.fromEntries(new URLSearchParams(query));
  const image = sharp(source).rotate().resize({ width: Number(w), withoutEnlargement: true });
  const quality = Number(q);
  switch (fm) {
    case 'png': return image.png();
    case 'jpg': return image.jpeg({ quality });
    case 'avif': return image.avif({ quality, chromaSubsampling: '4:2:0' });
    default: return image.webp({ quality });
  }
}

async function transform({ source, query, out }) {
  const bytes = readFileSync(source);
  const before = memory('VmRSS');
  writeFileSync('/proc/self/clear_refs', '5');
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  const made = await pipeline(bytes, query).toBuffer();
  const ms = Number(process.hrtime.bigint() - start) / 1e6;
  const { user, system } = process.cpuUsage(cpu);
  const peak = memory('VmHWM');
  if (out) writeFileSync(out, made);
  return { ms, cpu_ms: (user + system) / 1e3, bytes: made.length, peak_kib: Math.max(0, peak - before), total_kib: peak };
}

// Every pixel decoded, Lanczos, nothing lost: what a variant is compared with.
async function reference({ source, width, out }) {
  const image = sharp(source, { limitInputPixels: false }).rotate();
  await image.resize({ width, kernel: 'lanczos3', fastShrinkOnLoad: false }).removeAlpha().png({ compressionLevel: 1 }).toFile(out);
  return {};
}

// A source of so many pixels across from a photo.
async function photo({ source, width, format, progressive, filtered, out }) {
  const image = sharp(source, { limitInputPixels: false }).rotate().resize({ width });
  if (format === 'png') await image.png({ adaptiveFiltering: filtered }).toFile(out);
  else await image.jpeg({ quality: 90, progressive, optimiseCoding: progressive }).toFile(out);
  return {};
}

const works = { transform, reference, photo };
for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  console.log(JSON.stringify(await works[job.do](job)));
}
