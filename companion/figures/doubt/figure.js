// One trained network, asked many times, each time with the statistics of another batch. What makes its answers differ?
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure. `state` holds the traits of the Python class Doubt.

const TRAITS = ["cases", "case", "batch_size", "passes", "noise", "draw", "eps"];
const QUERIES = 121;
const DRAWN = 40; // passes that are drawn as lines, at most
const DRAWS = 1000;

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

const sum = values => values.reduce((total, value) => total + value, 0);

/** Numbers from 0 to 1 that a seed fixes (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Numbers of the points that pass number `pass` draws, without replacement; a larger batch begins with a smaller one. */
export function batch({ cases, case: shown, batch_size, draw }, pass) {
  const order = cases[shown].points.map((_, i) => i);
  const random = generator(DRAWS * pass + draw);
  for (let first = 0; first < batch_size; first++) {
    const other = first + Math.floor(random() * (order.length - first));
    [order[first], order[other]] = [order[other], order[first]];
  }
  return order.slice(0, batch_size);
}

/** Layer by layer, unit by unit: values h[unit * count + example] times a matrix of weights. */
function linear(h, count, weights) {
  const out = new Float64Array(weights.length * count);
  weights.forEach((row, unit) => row.forEach((weight, input) => {
    for (let i = 0; i < count; i++) out[unit * count + i] += weight * h[input * count + i];
  }));
  return out;
}

/** Outputs for `inputs`, normalised with `kept`: [m, √(s² + ε)] of each unit of each layer. Null: with their own. */
function forward({ weights, scales, offsets }, inputs, eps, kept = null) {
  const count = inputs.length;
  const statistics = [];
  let h = Float64Array.from(inputs);
  scales.forEach((gammas, layer) => {
    h = linear(h, count, weights[layer]);
    statistics.push(gammas.map((gamma, unit) => {
      const values = h.subarray(unit * count, (unit + 1) * count);
      let pair = kept?.[layer][unit];
      if (!pair) {
        const m = sum(values) / count;
        pair = [m, Math.sqrt(values.reduce((total, value) => total + (value - m) ** 2, 0) / count + eps)];
      }
      const delta = offsets[layer][unit];
      for (let i = 0; i < count; i++) values[i] = Math.max(0, (gamma * (values[i] - pair[0])) / pair[1] + delta);
      return pair;
    }));
  });
  const outputs = linear(h, count, weights.at(-1)).map(value => value + offsets.at(-1)[0]);
  return { outputs, statistics };
}

/** Mean and standard deviation over passes, at each place. */
function moments(samples) {
  const over = term => Array.from(samples[0], (_, i) => {
    let total = 0;
    for (const row of samples) total += term(row[i], i);
    return total / samples.length;
  });
  const mean = over(value => value);
  return { mean, spread: over((value, i) => (value - mean[i]) ** 2).map(Math.sqrt) };
}

/** The error function, to rounding: a series without cancellation. */
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let [total, term] = [0, x];
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) {
    total += term;
    term *= (2 * x * x) / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total;
}

/** Continuous ranked probability score of a Gaussian with this error of its mean. */
function crps(error, std) {
  if (std === 0) return Math.abs(error);
  const z = error / std;
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  return std * (z * erf(z / Math.SQRT2) + 2 * density - 1 / Math.sqrt(Math.PI));
}

/** Where the figure asks: from a little left of the points to a little right of them. */
function range(points) {
  const x = points.map(point => point[0]);
  const [low, high] = [Math.min(...x), Math.max(...x)];
  const room = 0.15 * (high - low) || 1;
  return [low - room, high + room];
}

export function compute(state) {
  const { cases, case: shown, passes, noise, eps } = state;
  const { points, held_out, ...network } = cases[shown];
  const [low, high] = range(points);
  const x = Array.from({ length: QUERIES }, (_, i) => low + ((high - low) * i) / (QUERIES - 1));
  const queries = [...x, ...held_out.map(point => point[0])];
  const samples = Array.from({ length: passes }, (_, pass) => {
    const { statistics } = forward(network, batch(state, pass).map(i => points[i][0]), eps);
    return forward(network, queries, eps, statistics).outputs;
  });
  const { mean, spread } = moments(samples);
  const total = spread.map(value => Math.hypot(value, noise));
  const errors = held_out.map(([, y], i) => y - mean[QUERIES + i]);
  const inside = errors.map((error, i) => Math.abs(error) <= 2 * total[QUERIES + i]);
  const widest = spread.slice(0, QUERIES).reduce((best, value, i, all) => (value > all[best] ? i : best), 0);
  return {
    x, samples: samples.map(row => Array.from(row.subarray(0, QUERIES))),
    mean: mean.slice(0, QUERIES), spread: spread.slice(0, QUERIES), total: total.slice(0, QUERIES), inside,
    typical: sum(spread.slice(QUERIES)) / held_out.length,
    widest: { x: x[widest], spread: spread[widest] },
    crps: sum(errors.map((error, i) => crps(error, total[QUERIES + i]))) / errors.length,
  };
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** What just happened: `before` is what the figure showed, `moved` the trait that was changed; or null. */
function sentence(state, { typical }, last) {
  const { cases, case: shown, batch_size, passes, noise } = state;
  const all = batch_size === cases[shown].points.length;
  if (passes === 1) return "One pass: one answer, and no sign of doubt.";
  if (all) return `Batches of all ${batch_size} points: all passes are the same one.`;
  const now = `${passes} passes with batches of ${batch_size} spread by ${show(typical)} at a held-out point, on average`;
  const was = last && show(last.before);
  const change = was === show(typical) ? `still by ${was}` : `by ${show(typical)} instead of ${was}`;
  if (last?.moved === "batch_size") return `Batches of ${batch_size} instead of ${last.was}: the passes spread ${change}.`;
  if (last?.moved === "case") return `“${cases[shown].name}”: the passes spread ${change}.`;
  if (last?.moved === "passes") return `${passes} passes instead of ${last.was}: they spread ${change}.`;
  if (last?.moved === "draw") return `Other batches: the passes spread ${change}.`;
  if (last?.moved === "noise") return `The passes spread ${change}; a noise of ${show(noise)} is added.`;
  return `${now}.`;
}

function remark({ noise }, { inside }) {
  const share = Math.round((100 * sum(inside.map(Number))) / inside.length);
  const head = `${share} % of the held-out points lie in the band`;
  if (share >= 99) return `${head}: it is wider than it need be.`;
  if (share >= 91) return `${head}; 95 % should.`;
  return `${head}; 95 % should. ${noise === 0 ? "The passes do not know the noise: add some." : "Add more noise."}`;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const [LEFT, RIGHT] = [34, 8];
const [TOP, LOW] = [{ y: 46, height: 250 }, { y: 330, height: 80 }];
const HEIGHT = 448;

function ticks(low, high) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find(size => (high - low) / size <= 6) ?? (high - low) / 4;
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toFixed(6)));
}

function scene(stage) {
  const svg = add(stage, "svg", { height: HEIGHT, role: "img" });
  const grid = add(svg, "g");
  const upper = add(svg, "svg", { class: "do-panel", x: LEFT, y: TOP.y, height: TOP.height });
  const [outer, band] = ["do-noise", "do-band"].map(name => add(upper, "path", { class: name }));
  const dots = add(upper, "g");
  const lines = add(upper, "g");
  const mean = add(upper, "path", { class: "do-mean" });
  const held = add(upper, "g");
  const lower = add(svg, "svg", { class: "do-panel", x: LEFT, y: LOW.y, height: LOW.height });
  const before = add(lower, "path", { class: "do-before" });
  const spread = add(lower, "path", { class: "do-spread" });

  return (state, result, last, width) => {
    const { points, held_out } = state.cases[state.case];
    const inner = width - LEFT - RIGHT;
    set(svg, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    set(upper, { width: inner });
    set(lower, { width: inner });
    const everything = state.cases.flatMap(one => one.points.map(point => point[1])); // the same axis for all cases
    const [least, most] = [Math.min(...everything), Math.max(...everything)];
    const room = 0.25 * (most - least) || 1;
    const [bottom, top] = [least - room, most + room];
    const [from, to] = [result.x[0], result.x.at(-1)];
    const peak = Math.max(0.1, result.widest.spread, ...(last?.curve ?? []));
    const x = value => ((value - from) / (to - from)) * inner;
    const y = value => ((top - value) / (top - bottom)) * TOP.height;
    const low = value => LOW.height * (1 - value / (1.08 * peak));
    const path = (values, at) => `M${values.map((value, i) => `${x(result.x[i]).toFixed(1)} ${at(value).toFixed(1)}`).join("L")}`;
    const around = by => `${path(result.mean.map((m, i) => m + 2 * by[i]), y)}L${path(result.mean.map((m, i) => m - 2 * by[i]), y)
      .slice(1).split("L").reverse().join("L")}Z`;

    for (const part of [grid, dots, lines, held]) part.replaceChildren();
    for (const value of ticks(bottom, top)) {
      add(grid, "path", { class: "do-grid", d: `M${LEFT} ${TOP.y + y(value)}h${inner}` });
      add(grid, "text", { class: "do-left", x: LEFT - 6, y: TOP.y + y(value) + 4 }, show(value, value % 1 ? 1 : 0));
    }
    for (const value of ticks(0, peak).filter((_, i, all) => all.length < 5 || i % 2 === 0)) {
      add(grid, "path", { class: "do-grid", d: `M${LEFT} ${LOW.y + low(value)}h${inner}` });
      add(grid, "text", { class: "do-left", x: LEFT - 6, y: LOW.y + low(value) + 4 }, show(value, value % 1 ? 1 : 0));
    }
    for (const value of ticks(from, to)) {
      add(grid, "text", { class: "do-number", x: LEFT + x(value), y: LOW.y + LOW.height + 16 }, show(value, value % 1 ? 1 : 0));
    }
    add(grid, "text", { class: "do-number", x: LEFT + inner / 2, y: HEIGHT - 4 }, "input x");
    add(grid, "text", { class: "do-title", x: 0, y: LOW.y - 12 }, "spread of the passes (s.d.)");
    if (last?.curve) {
      const end = LEFT + inner - 52;
      add(grid, "path", { class: "do-before", d: `M${end - 24} ${LOW.y - 16}h18` });
      add(grid, "text", { class: "do-key", x: end, y: LOW.y - 12 }, "before");
    }
    const keys = [["do-pass", "passes", 78], ["do-mean", "mean", 70], ["do-band", "± 2 s.d.", 84],
      ...(state.noise > 0 ? [["do-noise", "with noise", 96]] : []), ["do-point", "training", 76], ["do-held", "held out", 76],
      ...(result.inside.every(Boolean) ? [] : [["do-held", "outside", 70, false]])];
    let [at, line] = [0, 12];
    for (const [name, text, space, inside = true] of keys) {
      if (at + space > width) [at, line] = [0, line + 18];
      const dot = name === "do-point" || name === "do-held";
      if (dot) add(grid, "circle", { class: name, "data-inside": String(inside), cx: at + 6, cy: line - 4, r: 3 });
      else if (name === "do-pass" || name === "do-mean") add(grid, "path", { class: name, d: `M${at} ${line - 4}h18` });
      else add(grid, "rect", { class: name, x: at, y: line - 10, width: 18, height: 12 });
      add(grid, "text", { class: "do-key", x: at + (dot ? 14 : 23), y: line }, text);
      at += space;
    }
    for (const [px, py] of points) add(dots, "circle", { class: "do-point", cx: x(px), cy: y(py), r: 2.2 });
    held_out.forEach(([px, py], i) => {
      add(held, "circle", { class: "do-held", "data-inside": String(result.inside[i]), cx: x(px), cy: y(py), r: 2.6 });
    });
    for (const row of result.samples.slice(0, DRAWN)) add(lines, "path", { class: "do-pass", d: path(row, y) });
    set(outer, { d: state.noise > 0 ? around(result.total) : "" });
    set(band, { d: around(result.spread) });
    set(mean, { d: path(result.mean, y) });
    set(spread, { d: path(result.spread, low) });
    set(before, { d: last?.curve ? path(last.curve, low) : "" });
  };
}

// -------------------------------------------------------------------------------------------------- 4 the figure

const PASSES = [1, 2, 5, 10, 20, 50, 100, 200];
const SIZES = [2, 4, 8, 16, 32, 64, 128, 256, 512];

/** `choices` with `value`, if it is another, in order. */
const including = (choices, value) => [...new Set([...choices, value])].sort((a, b) => a - b);

function build({ root, change, state, reset }) {
  let shown = null; // the result on screen
  const sizes = () => {
    const all = state().cases[0].points.length;
    return including([...SIZES.filter(size => size < all), all], state().batch_size);
  };
  const passes = () => including(PASSES, state().passes);
  const noises = () => including(Array.from({ length: 17 }, (_, i) => Number((0.05 * i).toFixed(2))), state().noise);
  const turn = (moved, value) => {
    const was = state()[moved];
    change({ [moved]: value }, { move: { moved, was, before: shown.typical, curve: moved === "noise" ? null : shown.spread } });
  };

  const bar = add(root, "div", { class: "ex-bar" });
  const names = Object.fromEntries(state().cases.map(({ name }, i) => [i, name]));
  const press = choice(bar, "data", names, value => turn("case", Number(value)));
  button(bar, {}, "draw other batches", () => turn("draw", (state().draw % DRAWS) + 1));
  button(bar, {}, "reset", reset);
  const stage = add(root, "div");
  const draw = scene(stage);
  const say = words(root);
  const sliders = add(root, "div", { class: "ex-sliders" });
  const size = slider(sliders, { trait: "batch_size", symbol: "M", name: "points in a batch", min: 0, max: 1, text: i => String(sizes()[i]) },
    i => turn("batch_size", sizes()[i]));
  const count = slider(sliders, { trait: "passes", symbol: "T", name: "passes", min: 0, max: 1, text: i => String(passes()[i]) },
    i => turn("passes", passes()[i]));
  const noise = slider(sliders, { trait: "noise", symbol: "σ", name: "noise added", min: 0, max: 1, text: i => show(noises()[i]) },
    i => turn("noise", noises()[i]));
  const numbers = add(root, "div", { class: "ex-numbers" });
  const cells = {
    spread: readout(numbers, "spread of the passes", { typical: "held-out points", widest: "widest" }),
    held: readout(numbers, "held-out points", { inside: "in the band", crps: "CRPS" }),
  };

  return (now, { width, last }) => {
    shown = compute(now);
    press(now.case);
    size(sizes().indexOf(now.batch_size), sizes().length - 1);
    count(passes().indexOf(now.passes), passes().length - 1);
    noise(noises().indexOf(now.noise), noises().length - 1);
    draw(now, shown, last, width);
    const inside = sum(shown.inside.map(Number));
    set(root.querySelector("svg"), { "aria-label": `Passes spread by ${show(shown.typical)} at held-out points and most, by ` +
      `${show(shown.widest.spread)}, at x = ${show(shown.widest.x, 1)}; ${inside} of ${shown.inside.length} held-out points lie in the band.` });
    cells.spread.typical.textContent = show(shown.typical);
    cells.spread.widest.textContent = `${show(shown.widest.spread)} at x = ${show(shown.widest.x, 1)}`;
    cells.held.inside.textContent = `${inside} of ${shown.inside.length}`;
    cells.held.crps.textContent = show(shown.crps, 3);
    say(sentence(now, shown, last), remark(now, shown));
  };
}

export default explorable("doubt", TRAITS, build);
