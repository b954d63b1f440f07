// One hidden unit's batch cut into ghosts: how much does one example's output depend on its company?
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure that ties them together.
// `state` holds the traits of the Python class Ghosts; a place is where an example stands after the shuffle.

const TRAITS = ["values", "ghost_size", "followed", "shuffle", "eps"];
const SHUFFLES = 500;
const BIN = 0.1; // width of the track's bars, in units of the output
const SEEN = 0.005; // a smaller move would be written as 0.00

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

const sum = values => values.reduce((total, value) => total + value, 0);

/** Mean and standard deviation. */
function moments(values) {
  const m = sum(values) / values.length;
  return { m, s: Math.sqrt(sum(values.map(value => (value - m) ** 2)) / values.length) };
}

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

/** Which example stands at each place in shuffle number `shuffle`; number 0 is no shuffle. */
export function order(count, shuffle) {
  const places = Array.from({ length: count }, (_, i) => i);
  if (shuffle === 0) return places;
  const draw = generator(shuffle);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(draw() * (last + 1));
    [places[last], places[other]] = [places[other], places[last]];
  }
  return places;
}

/** What stands at each place, each ghost's moments, and what comes out. */
export function compute({ values, ghost_size, shuffle, eps }) {
  const examples = order(values.length, shuffle);
  const inputs = examples.map(example => values[example]);
  const ghosts = [];
  for (let first = 0; first < inputs.length; first += ghost_size) {
    ghosts.push(moments(inputs.slice(first, first + ghost_size)));
  }
  const outputs = inputs.map((h, place) => {
    const { m, s } = ghosts[Math.floor(place / ghost_size)];
    return (h - m) / Math.sqrt(s * s + eps);
  });
  return { examples, inputs, ghosts, outputs };
}

/** The followed example's output in each of the 500 shuffles. */
export function track({ values, ghost_size, followed, eps }) {
  return Array.from({ length: SHUFFLES }, (_, i) => {
    const examples = order(values.length, i + 1);
    const place = examples.indexOf(followed);
    const first = place - (place % ghost_size);
    const { m, s } = moments(examples.slice(first, first + ghost_size).map(example => values[example]));
    return (values[followed] - m) / Math.sqrt(s * s + eps);
  });
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** What the shuffle did: `before` is the output before it, or null if something else was changed. */
function sentence({ values, ghost_size }, out, before) {
  const ghosts = values.length / ghost_size;
  if (before !== null) {
    const stays = Math.abs(out - before) < SEEN;
    return `${ghosts === 1 ? "Another order" : "New company"}: the output went from ${show(before)} to ${show(out)}` +
      `${stays ? ", so it stayed." : "."}`;
  }
  return ghosts === 1 ? `All ${ghost_size} examples share one mean and one deviation.`
    : `${ghosts} ghosts of ${ghost_size}: each has a mean and a deviation of its own.`;
}

function remark({ values, ghost_size }, spread) {
  if (ghost_size === values.length) return "One ghost is the whole batch: its company is always the same.";
  const head = `Its input is the same in all ${SHUFFLES} shuffles; its output has a spread of ${show(spread)}.`;
  return ghost_size === 2 ? `${head} Of two, one comes out as +1 and the other as −1.` : head;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const LEFT = 30; // numbers of the vertical axes
const RIGHT = 8;
const PANEL = 118; // height of the two panels of dots
const TITLE = 24; // above each panel
const TRACK = 84; // height of the track

/** Rounder numbers for an axis from `low` to `high`. */
function ticks(low, high) {
  const step = [0.5, 1, 2, 5, 10, 20, 50].find(size => (high - low) / size <= 6) ?? (high - low) / 4;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

/** A panel of dots: one a place, a band of m ± s and a line at m for each ghost. */
function panel(svg, name) {
  const layer = add(svg, "g", { class: `gh-${name}` });
  const title = add(layer, "text", { class: "gh-title" });
  const axis = add(layer, "g");
  const bands = add(layer, "g");
  const dots = add(layer, "g");

  return function draw({ top, width, heading, range, values, ghosts, size, mine }) {
    const [low, high] = range;
    const slot = (width - LEFT - RIGHT) / values.length;
    const x = place => LEFT + (place + 0.5) * slot;
    const y = value => top + TITLE + ((high - value) / (high - low)) * PANEL;
    title.textContent = heading;
    set(title, { x: LEFT, y: top + 14 });
    for (const part of [axis, bands, dots]) part.replaceChildren();
    for (const value of ticks(low, high)) {
      add(axis, "path", { class: "gh-grid", d: `M${LEFT} ${y(value)}H${width - RIGHT}` });
      add(axis, "text", { class: "gh-number", x: LEFT - 5, y: y(value) + 4 }, show(value, value % 1 ? 1 : 0));
    }
    ghosts.forEach(({ m, s }, number) => {
      const start = LEFT + number * size * slot;
      const own = String(number === Math.floor(mine / size));
      const inset = Math.min(2, 0.12 * size * slot);
      add(bands, "rect", { class: "gh-band", "data-mine": own, "data-m": m, "data-s": s, x: start + inset,
        width: size * slot - 2 * inset, y: y(m + s), height: Math.max(0, y(m - s) - y(m + s)) });
      add(bands, "path", { class: "gh-mean", "data-mine": own, d: `M${start + inset} ${y(m)}h${size * slot - 2 * inset}` });
    });
    const radius = clamp(0.36 * slot, 1.5, 4);
    const places = values.map((_, place) => place).filter(place => place !== mine);
    for (const place of [...places, mine]) { // the followed one last, on top
      add(dots, "circle", { class: "gh-dot", "data-mine": String(place === mine), "data-place": place,
        "data-value": values[place], cx: x(place), cy: y(values[place]), r: place === mine ? radius + 2 : radius });
    }
    return top + TITLE + PANEL;
  };
}

/** The track: how often the followed output fell where, and where it is now. */
function record(svg) {
  const layer = add(svg, "g", { class: "gh-track" });
  const title = add(layer, "text", { class: "gh-title" });
  const base = add(layer, "path", { class: "gh-base" });
  const numbers = add(layer, "g");
  const bars = add(layer, "g");
  const now = add(layer, "path", { class: "gh-now" });

  return function draw({ top, width, heading, limit, outputs, out }) {
    const x = value => LEFT + ((value + limit) / (2 * limit)) * (width - LEFT - RIGHT);
    const floor = top + TITLE + TRACK;
    const counts = new Map();
    for (const value of outputs) {
      const bin = Math.round(value / BIN);
      counts.set(bin, (counts.get(bin) ?? 0) + 1);
    }
    const most = Math.max(...counts.values());
    title.textContent = heading;
    set(title, { x: LEFT, y: top + 14 });
    set(base, { d: `M${LEFT} ${floor}H${width - RIGHT}` });
    numbers.replaceChildren();
    bars.replaceChildren();
    for (const value of ticks(-limit, limit)) {
      add(numbers, "text", { class: "gh-below", x: x(value), y: floor + 16 }, show(value, value % 1 ? 1 : 0));
    }
    for (const [bin, count] of counts) {
      const [from, to] = [x((bin - 0.5) * BIN), x((bin + 0.5) * BIN)];
      const height = (TRACK * count) / most;
      add(bars, "rect", { class: "gh-bar", "data-count": count, "data-bin": bin, x: from + 0.4,
        width: Math.max(1, to - from - 0.8), y: floor - height, height });
    }
    set(now, { d: `M${x(out)} ${floor + 3}V${floor - TRACK - 2}` });
    return floor + 22;
  };
}

// -------------------------------------------------------------------------------------------------- 4 the figure

function build({ root, change, state, reset }) {
  const divisors = () => {
    const count = state().values.length;
    return Array.from({ length: count - 1 }, (_, i) => i + 2).filter(size => count % size === 0);
  };
  let out = null; // the followed output on screen

  const bar = add(root, "div", { class: "ex-bar" });
  button(bar, { class: "ex-button gh-shuffle" }, "shuffle the batch", () => {
    change({ shuffle: (state().shuffle % SHUFFLES) + 1 }, { move: { before: out } });
  });
  button(bar, {}, "reset", reset);
  const svg = add(root, "svg", { role: "img" });
  const panels = { in: panel(svg, "in"), out: panel(svg, "out") };
  const past = record(svg);
  const say = words(root);
  const sliders = add(root, "div", { class: "ex-sliders" });
  const turn = slider(sliders, {
    trait: "ghost_size", symbol: "g", name: "examples in a ghost", min: 0, max: 1, text: k => String(divisors()[k]),
  }, k => change({ ghost_size: divisors()[k] }));
  const pick = slider(sliders, {
    trait: "followed", name: "example followed", min: 1, max: 2, text: x => show(x, 0),
  }, value => change({ followed: value - 1 }));
  const numbers = add(root, "div", { class: "ex-numbers" });
  const cells = {
    ghost: readout(numbers, "its ghost", { m: "m", s: "s" }),
    followed: readout(numbers, "the one followed", { h: "h", out: "out" }),
    past: readout(numbers, `out, ${SHUFFLES} shuffles`, { mean: "mean", spread: "s.d." }),
  };

  return function update(now, { width, last }) {
    const { examples, inputs, ghosts, outputs } = compute(now);
    const mine = examples.indexOf(now.followed);
    const seen = track(now);
    const { m: mean, s: spread } = moments(seen);
    out = outputs[mine];
    const sizes = divisors();
    turn(sizes.indexOf(now.ghost_size), sizes.length - 1);
    pick(now.followed + 1, now.values.length);

    const [least, most] = [Math.min(...inputs), Math.max(...inputs)];
    const room = 0.06 * (most - least) || 1;
    const limit = 0.15 + Math.max(3, ...[...outputs, ...seen].map(Math.abs));
    const plain = ghosts.map(({ s }) => ({ m: 0, s: s / Math.sqrt(s * s + now.eps) }));
    const shared = { width, size: now.ghost_size, mine };
    let top = panels.in({ ...shared, top: 2, heading: "in: h, side by side in ghosts", values: inputs, ghosts,
      range: [least - room, most + room] });
    top = panels.out({ ...shared, top: top + 6, heading: "out: (h − m) / √(s² + ε)", values: outputs, ghosts: plain,
      range: [-limit, limit] });
    const height = past({ width, top: top + 6, heading: `out of the one followed, in ${SHUFFLES} shuffles`, limit,
      outputs: seen, out });
    set(svg, { width, height, viewBox: `0 0 ${width} ${height}`,
      "aria-label": `${plural(ghosts.length, "ghost")} of ${now.ghost_size}. The followed example's output is ` +
        `${show(out)}; over ${SHUFFLES} shuffles its mean is ${show(mean)} and its spread ${show(spread)}.` });

    const ghost = ghosts[Math.floor(mine / now.ghost_size)];
    cells.ghost.m.textContent = show(ghost.m);
    cells.ghost.s.textContent = show(ghost.s);
    cells.followed.h.textContent = show(inputs[mine]);
    cells.followed.out.textContent = show(out);
    cells.past.mean.textContent = show(mean);
    cells.past.spread.textContent = show(spread);
    cells.followed.cell.classList.add("gh-yours");
    say(sentence(now, out, last ? last.before : null), remark(now, spread));
  };
}

export default explorable("ghosts", TRAITS, build);
