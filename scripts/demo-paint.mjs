// Paints the pictures of the demo library: demo-paint.mjs scene=NAME size=WxH [key=value…] writes raw pixels to stdout.
//
// Landscapes built from gradient noise, because their statistics are those of photographs (soft skies, hard edges,
// texture, grain), which flat test patterns do not have. The same arguments give the same bytes on every machine.
// Encoding is left to ffmpeg: rgb24 for scenes, rgba for `planet` and `ridge`.
import { writeSync } from 'node:fs';

const options = Object.fromEntries(process.argv.slice(2).map((argument) => argument.split('=', 2)));
const [width, height] = (options.size ?? '640x360').split('x').map(Number);
const seed = Number(options.seed ?? 1);
/** The height of the whole picture, of which a `ridge` is only the strip below `top`. */
const picture = Number(options.of ?? height);

// ------------------------------------------------------------------------------------------------ noise and colour

/** A small generator (mulberry32), so that no picture depends on Math.random. */
function random(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const permutation = new Uint8Array(512);
{
  const draw = random(seed * 7919 + 17);
  const order = Array.from({ length: 256 }, (_, i) => i);
  for (let i = 255; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  for (let i = 0; i < 512; i++) permutation[i] = order[i & 255];
}
const gradientX = Float64Array.from({ length: 256 }, (_, i) => Math.cos((i * Math.PI) / 128));
const gradientY = Float64Array.from({ length: 256 }, (_, i) => Math.sin((i * Math.PI) / 128));

/** Perlin noise, about −0.7 … 0.7. */
function noise(x, y) {
  const xi = Math.floor(x), yi = Math.floor(y);
  const fx = x - xi, fy = y - yi;
  const a = permutation[xi & 255], b = permutation[(xi + 1) & 255], row = yi & 255;
  const g00 = permutation[a + row], g01 = permutation[a + row + 1];
  const g10 = permutation[b + row], g11 = permutation[b + row + 1];
  const u = fx * fx * fx * (fx * (fx * 6 - 15) + 10), v = fy * fy * fy * (fy * (fy * 6 - 15) + 10);
  const n00 = gradientX[g00] * fx + gradientY[g00] * fy, n10 = gradientX[g10] * (fx - 1) + gradientY[g10] * fy;
  const n01 = gradientX[g01] * fx + gradientY[g01] * (fy - 1), n11 = gradientX[g11] * (fx - 1) + gradientY[g11] * (fy - 1);
  const top = n00 + u * (n10 - n00), bottom = n01 + u * (n11 - n01);
  return top + v * (bottom - top);
}

function fractal(x, y, octaves) {
  let sum = 0, gain = 1;
  for (let i = 0; i < octaves; i++) {
    sum += noise(x, y) * gain;
    x = x * 2.03 + 31.7;
    y = y * 2.03 + 11.3;
    gain *= 0.5;
  }
  return sum;
}

const clamp = (value) => (value < 0 ? 0 : value > 1 ? 1 : value);
const smooth = (from, to, value) => {
  const t = clamp((value - from) / (to - from));
  return t * t * (3 - 2 * t);
};
const hex = (code) => [1, 3, 5].map((i) => parseInt(code.slice(i, i + 2), 16));
const mix = (a, b, t) => [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t];
const ramp = (stops, t) => {
  const position = clamp(t) * (stops.length - 1), i = Math.min(Math.floor(position), stops.length - 2);
  return mix(stops[i], stops[i + 1], position - i);
};

/** sky: zenith to horizon; ground: farthest to nearest. */
const palettes = {
  dusk: { sky: ['#27305e', '#6b4a84', '#d8737a', '#f8b878', '#fbe0a4'], ground: ['#d08a86', '#8a5a7d', '#4d3a63', '#1c1a36'], sun: '#fff0c8', cloud: '#ffd2b0' },
  dawn: { sky: ['#3f78a8', '#7fb0c8', '#c8d8d4', '#f6dcc6', '#fbc9ae'], ground: ['#b0bfc6', '#7396a0', '#3d6a70', '#123a3f'], sun: '#fffbe8', cloud: '#fff4ec' },
  alpine: { sky: ['#2166b0', '#4f93d2', '#8fc1e6', '#cfe6f2', '#eef6f8'], ground: ['#b4cbde', '#7c9cb8', '#4c7060', '#1f3a22'], sun: '#ffffff', cloud: '#ffffff' },
  desert: { sky: ['#2a6f97', '#61a5c2', '#bcd6d6', '#f4e3c4', '#fbd3a0'], ground: ['#eab98a', '#d98f56', '#b8622f', '#6f3015'], sun: '#fff6dd', cloud: '#fff1dc' },
  night: { sky: ['#050a1e', '#0a1836', '#10294e', '#1c4462', '#2f6a78'], ground: ['#16344a', '#0e2436', '#081624', '#03080f'], sun: '#e8f0ff', cloud: '#27506a' },
};
const chosen = palettes[options.palette ?? 'dusk'];
const palette = { sky: chosen.sky.map(hex), ground: chosen.ground.map(hex), sun: hex(chosen.sun), cloud: hex(chosen.cloud) };

// ------------------------------------------------------------------------------------------------------ landscapes

const draw = random(seed);
const sunAt = { x: Number(options.sun ?? 0.3 + 0.4 * draw()) || 0.5, y: 0.42 };
const aspect = width / height;

/** Large pictures get finer detail, as larger photographs do. */
const octaves = 5 + Math.max(0, Math.round(Math.log2(picture / 800)));

const stars = (() => {
  const found = new Map();
  if (options.palette !== 'night') return found;
  for (let i = 0; i < 700; i++) found.set(Math.floor(draw() ** 1.2 * 0.7 * height) * width + Math.floor(draw() * width), 0.3 + 0.7 * draw());
  return found;
})();

function sky(x, y, horizon) {
  const u = (x / width) * aspect, v = y / height;
  let colour = ramp(palette.sky, v / horizon);
  const distance = Math.hypot(u - sunAt.x * aspect, v - sunAt.y);
  const glow = options.sun === 'none' ? 0 : Math.exp(-distance * 4.2) * 0.55 + Math.exp(-distance * 16) * 0.4;
  const cloud = smooth(0.02, 0.42, fractal(u * 2.1 + seed, v * 7.5, 5) + 0.12) * smooth(0, 0.25, v) * 0.55;
  colour = mix(colour, palette.cloud, cloud * (0.45 + glow));
  colour = mix(colour, palette.sun, clamp(glow));
  if (options.sun !== 'none') colour = mix(colour, palette.sun, smooth(0.047, 0.044, distance));
  const star = stars.get(y * width + x);
  return star ? mix(colour, [255, 255, 255], star * (1 - cloud)) : colour;
}

/** The heights of one ridge, as a share of the picture, for each column. Near ridges get trees. */
function ridgeLine(index, count, horizon, columns) {
  const near = index / (count - 1);
  const base = horizon - 0.03 + near ** 1.35 * (0.97 - horizon);
  const steep = options.scene === 'dunes' ? 0.05 : 0.15 - 0.05 * near;
  return Float64Array.from({ length: columns }, (_, x) => {
    const u = x / picture;
    let lift = fractal(u * (1.3 + near) + index * 19.1 + seed * 3.7, index * 7.3, options.scene === 'dunes' ? 2 : 7) * steep * 1.6;
    if (options.scene !== 'dunes' && near > 0.5) {
      const trees = Math.abs(noise(u * 55 + index * 3, 4.2)) + Math.abs(noise(u * 131, index));
      lift += trees * 0.026 * near * smooth(-0.35, 0.1, noise(u * 2.3, index * 5.1));
    }
    return base - lift;
  });
}

function ground(x, y, index, count, line) {
  const near = index / (count - 1);
  const u = x / picture, v = y / picture;
  const depth = v - line[x];
  // Light on the slopes: the difference of the terrain noise between here and a step towards the sun.
  const step = sunAt.x < 0.5 ? -0.006 : 0.006;
  const relief = (du, dv) => fractal((u + du) * 9 + index * 13, (v + dv) * 15 + index * 5, octaves);
  const texture = options.scene === 'dunes'
    ? Math.sin((v * 190 + fractal(u * 3, v * 9, 3) * 9) * (1.6 - near)) * 0.03 + fractal(u * 2, v * 8, 3) * 0.22
    : (relief(0, 0) - relief(step, -0.006)) * (0.55 + 0.35 * near);
  const reach = Math.max(1, Math.round(picture / 160));
  const rise = (line[Math.min(x + reach, line.length - 1)] - line[Math.max(x - reach, 0)]) * 14 * Math.sign(sunAt.x - 0.5 + 1e-9);
  const lit = Math.max(-0.14, Math.min(0.14, rise)) * Math.exp(-depth * 80);
  let colour = ramp(palette.ground, near);
  colour = mix(colour, palette.sky[palette.sky.length - 1], clamp(depth * (2.4 - 2 * near)) * 0.5 * (1 - near * 0.75));
  const shade = 1 + texture + lit;
  if (options.palette === 'alpine' && near < 0.45) {
    const snow = smooth(0.1, 0.02, depth + fractal(u * 14, v * 14, 4) * 0.09);
    colour = mix(colour, [246, 250, 255], snow * 0.9);
  }
  return [colour[0] * shade, colour[1] * shade, colour[2] * shade];
}

function landscape() {
  const shore = options.scene === 'lake' ? 0.66 : 2;
  const horizon = options.scene === 'lake' ? 0.5 : 0.52;
  const count = 6;
  const lines = Array.from({ length: count }, (_, i) => {
    const line = ridgeLine(i, count, horizon, width);
    return options.scene === 'lake' ? line.map((h) => Math.min(h, shore - 0.012)) : line;
  });
  const drawn = options.scene === 'lake' ? 2 : count;
  const at = (x, y) => {
    const v = y / height;
    for (let i = drawn - 1; i >= 0; i--) if (v >= lines[i][x]) return ground(x, y, i, count, lines[i]);
    return sky(x, y, 0.62);
  };
  return (x, y) => {
    const v = y / height;
    if (v < shore) return at(x, y);
    const depth = (v - shore) / (1 - shore);
    const ripple = fractal((x / height) * 5, 26 * Math.sqrt(depth + 0.02) * 3, 3);
    const mirrored = Math.max(0, Math.min(height - 1, Math.round((2 * shore - v) * height + ripple * depth * 0.09 * height)));
    const column = Math.max(0, Math.min(width - 1, Math.round(x + ripple * depth * 0.03 * height)));
    return mix(at(column, mirrored), palette.sky[0], 0.16 + 0.3 * depth).map((c) => c * (1 + ripple * 0.12));
  };
}

/** Out-of-focus lights: soft background, hard-edged translucent discs. */
function bokeh() {
  const lights = Array.from({ length: 70 }, () => ({
    x: draw() * aspect, y: 0.15 + 0.75 * draw(), r: 0.015 + 0.075 * draw() ** 1.6, a: 0.12 + 0.4 * draw(), c: ramp([[255, 120, 60], [255, 210, 120], [255, 90, 130], [90, 200, 255]], draw()),
  }));
  return (x, y) => {
    const u = x / height, v = y / height;
    let [r, g, b] = mix(ramp(palette.ground.slice(1), clamp(0.5 + fractal(u * 1.4, v * 1.4, 3))), [8, 8, 22], 0.55);
    for (const light of lights) {
      const d = Math.hypot(u - light.x, v - light.y) / light.r;
      if (d > 1.06) continue;
      const amount = light.a * smooth(1.06, 0.97, d) * (0.72 + 0.28 * d * d);
      r += light.c[0] * amount;
      g += light.c[1] * amount;
      b += light.c[2] * amount;
    }
    return [r, g, b];
  };
}

/** A lit sphere with bands, on nothing: soft edges show whether alpha survives. */
function planet() {
  const radius = 0.4;
  return (x, y) => {
    const u = (x / width - 0.5) * aspect, v = y / height - 0.5;
    const d = Math.hypot(u, v) / radius;
    const halo = Math.exp(-Math.max(0, d - 1) * 16) * 0.45;
    if (d >= 1) return [120, 190, 255, 255 * halo];
    const z = Math.sqrt(1 - d * d), nx = u / radius, ny = v / radius;
    const band = fractal(nx * 0.8 + 3, ny * 5 + fractal(nx * 3, ny * 6, 5) * 0.9, 5);
    const base = ramp([[36, 60, 122], [82, 130, 190], [226, 214, 196], [206, 140, 96], [120, 60, 66]], 0.5 + band * 0.75);
    const light = clamp(nx * -0.55 + ny * -0.45 + z * 0.75) * 1.15 + 0.05;
    const rim = (1 - z) ** 3 * 0.6;
    const edge = smooth(1, 0.985, d);
    return [base[0] * light + 90 * rim, base[1] * light + 150 * rim, base[2] * light + 220 * rim, 255 * Math.max(edge, halo)];
  };
}

/** One ridge on nothing, `columns` wide: ffmpeg slides several over a sky, at speeds that fit their distance. */
function ridge() {
  const index = Number(options.index), count = Number(options.count), top = Number(options.top);
  const line = ridgeLine(index, count, 0.52, width);
  return (x, y) => {
    const cover = clamp(y + top - line[x] * picture + 0.5);
    return cover === 0 ? [0, 0, 0, 0] : [...ground(x, y + top, index, count, line), 255 * cover];
  };
}

/** Northern lights over time, small: they are soft, so ffmpeg enlarges them. */
function aurora(frame) {
  const t = frame / 25;
  return (x, y) => {
    const u = (x / width) * 3, v = y / height;
    let r = 0, g = 0, b = 0;
    for (let curtain = 0; curtain < 3; curtain++) {
      const sway = fractal(u * 0.7 + curtain * 9 + t * 0.05, t * 0.09 + curtain * 4, 3);
      const foot = 0.56 - curtain * 0.1 + sway * 0.26;
      const above = foot - v;
      if (above < -0.05) continue;
      const rays = 0.45 + 0.55 * clamp(0.5 + 1.3 * noise(u * 7 + sway * 6 + curtain * 3, t * 0.35 + curtain));
      const strength = smooth(-0.05, 0.02, above) * Math.exp(-above * (5 + 2 * curtain)) * rays * (0.9 - 0.22 * curtain);
      r += strength * (30 + 190 * clamp(above * 2.4));
      g += strength * 235;
      b += strength * (110 + 130 * clamp(above * 3));
    }
    return [r, g, b];
  };
}

// ---------------------------------------------------------------------------------------------------------- output

const painters = { ridges: landscape, lake: landscape, dunes: landscape, bokeh, planet, ridge, aurora, sky: () => (x, y) => sky(x, y, 0.62) };
const painter = painters[options.scene];
if (!painter) throw new Error(`scene= must be one of ${Object.keys(painters).join(', ')}`);
const channels = options.scene === 'planet' || options.scene === 'ridge' ? 4 : 3;
const grain = Number(options.grain ?? 5);
const buffer = Buffer.alloc(width * height * channels);

function write(bytes) {
  for (let offset = 0; offset < bytes.length;) {
    try {
      offset += writeSync(1, bytes, offset);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

for (let frame = 0; frame < Number(options.frames ?? 1); frame++) {
  const paint = painter(frame);
  let state = seed + frame * 977;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i += channels) {
      const colour = paint(x, y);
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      const speck = (((state >>> 16) & 255) + ((state >>> 24) & 255) - 255) / 255 * grain;
      for (let c = 0; c < 3; c++) buffer[i + c] = Math.max(0, Math.min(255, colour[c] + speck));
      if (channels === 4) buffer[i + 3] = colour[3];
    }
  }
  write(buffer);
}
