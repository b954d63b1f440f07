// A block of examples × channels × positions: which entries share the chosen one's mean and variance?
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure that ties them together.
// An entry is [example, channel, position], all counted from 0; `state` holds the traits of the Python class WhoShares.

const TRAITS = ["values", "examples", "channels", "chosen", "eps"];
const LIMIT = 2.5; // values from −LIMIT to LIMIT have colours of their own

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

const sizes = ({ values }) => [values.length, values[0].length, values[0][0].length];
const divisors = n => Array.from({ length: n }, (_, i) => i + 1).filter(d => n % d === 0);
const entries = (rows, columns, positions) =>
  rows.flatMap(i => columns.flatMap(c => Array.from({ length: positions }, (_, p) => [i, c, p])));
const run = (start, length) => Array.from({ length }, (_, i) => start + i);

/** First example and first channel of the group that an entry belongs to: groups are runs of neighbours. */
const corner = ({ examples, channels }, [i, c]) => [i - (i % examples), c - (c % channels)];

/** All entries of that group. */
export function sharers(state, entry) {
  const [i, c] = corner(state, entry);
  return entries(run(i, state.examples), run(c, state.channels), sizes(state)[2]);
}

/** Mean, standard deviation and number of the group that an entry belongs to. */
export function moments(state, entry) {
  const group = sharers(state, entry).map(([i, c, p]) => state.values[i][c][p]);
  const m = group.reduce((sum, h) => sum + h, 0) / group.length;
  const variance = group.reduce((sum, h) => sum + (h - m) ** 2, 0) / group.length;
  return { m, s: Math.sqrt(variance), n: group.length };
}

/** The whole block, standardized: in every group (h − m) / √(s² + ε). */
export function standardize(state) {
  const [N, C] = sizes(state);
  const out = state.values.map(row => row.map(strip => [...strip]));
  for (const i of run(0, N / state.examples)) {
    for (const c of run(0, C / state.channels)) {
      const first = [i * state.examples, c * state.channels, 0];
      const { m, s } = moments(state, first);
      const root = Math.sqrt(s * s + state.eps);
      for (const [a, b, p] of sharers(state, first)) out[a][b][p] = (out[a][b][p] - m) / root;
    }
  }
  return out;
}

/** The scheme's key in the house's colours, or null for a setting that has no name. */
export function scheme(state) {
  const [N, C] = sizes(state);
  const { examples, channels } = state;
  if (examples === 1) return channels === 1 ? "instance" : channels === C ? "layer" : "group";
  if (channels === 1) return examples === N ? "batch" : "ghost";
  return null;
}

/** A scheme's two numbers in this block; null if the block has no such setting. */
function preset(state, name) {
  const [N, C] = sizes(state);
  const inner = n => divisors(n).slice(1, -1).at(-1);
  const found = { batch: [N, 1], ghost: [inner(N), 1], layer: [1, C], group: [1, inner(C)], instance: [1, 1] }[name];
  return found.every(Boolean) ? { examples: found[0], channels: found[1] } : null;
}

// --------------------------------------------------------------------------------------------------- 2 the words

const NAMES = { batch: "batch", ghost: "ghost batch", layer: "layer", group: "group", instance: "instance" };

function name(state) {
  const [N, C] = sizes(state);
  const key = scheme(state);
  if (key === "ghost") return `Ghost batch norm with ghosts of ${state.examples}.`;
  if (key === "group") return `Group norm with ${C / state.channels} groups.`;
  if (key) return `${NAMES[key][0].toUpperCase()}${NAMES[key].slice(1)} norm.`;
  if (state.examples === N && state.channels === C) return "Everybody shares one mean and one variance: no name.";
  return "This one has no name.";
}

/** What happened: `last` is { from, moved } after the chosen entry's value was moved, else null. */
function sentence(state, last) {
  const [N, C, L] = sizes(state);
  const n = state.examples * state.channels * L;
  if (last) {
    const [i, c, p] = state.chosen;
    const stayed = N * C * L - last.moved;
    return `One input moved by ${signed(state.values[i][c][p] - last.from, 1)}: ` +
      `${plural(last.moved, "output")} moved, ${stayed} did not.`;
  }
  const factors = [[state.examples, "example"], [state.channels, "channel"], [L, "position"]];
  return `${n} entries share: ${factors.map(([count, noun]) => plural(count, noun)).join(" × ")}.`;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const HEAD = 34; // above a panel: its title and the word "channel"
const SIDE = 22; // left of a panel: the word "example"
const GAP = 28; // between the panels

/** A panel: one cell per entry, the outlines of all groups and of the chosen one's, and a ring on the chosen entry. */
function panel(svg, state, title, choose) {
  const [N, C, L] = sizes(state);
  const wide = Math.ceil(Math.sqrt(L)); // a tile of positions is as square as it can be
  const layer = add(svg, "g");
  const head = add(layer, "text", { class: "ws-title", y: 12 }, `${title[0]}: `);
  add(head, "tspan", { class: "ex-math" }, title[1]);
  const across = add(layer, "text", { class: "ws-axis", y: 28 }, "channel →");
  const down = add(layer, "text", { class: "ws-axis" }, "← example");
  const cells = new Map();
  for (const entry of entries(run(0, N), run(0, C), L)) {
    const cell = add(layer, "rect", { class: "ws-cell", "data-entry": entry.join() });
    cell.addEventListener("click", () => choose(entry));
    cells.set(entry.join(), cell);
  }
  const borders = add(layer, "path", { class: "ws-borders" });
  const outline = add(layer, "rect", { class: "ws-outline", rx: 4 });
  const ring = add(layer, "circle", { class: "ws-ring" });

  function draw(now, values, left, top, size) {
    const tile = (size - SIDE) / C;
    const gap = Math.max(2, tile * 0.12);
    const unit = (tile - gap) / wide;
    const x0 = left + SIDE;
    const y0 = top + HEAD;
    const place = ([i, c, p]) => [x0 + c * tile + gap / 2 + (p % wide) * unit,
      y0 + i * tile + gap / 2 + Math.floor(p / wide) * unit];
    set(head, { x: x0 + (size - SIDE) / 2, y: top + 12 });
    set(across, { x: x0 + (size - SIDE) / 2, y: top + 28 });
    set(down, { transform: `translate(${left + 12} ${y0 + (N * tile) / 2}) rotate(-90)` });
    const group = new Set(sharers(now, now.chosen).map(entry => entry.join()));
    for (const [key, cell] of cells) {
      const [i, c, p] = key.split(",").map(Number);
      const [x, y] = place([i, c, p]);
      set(cell, { x, y, width: unit, height: unit, "data-shares": group.has(key), "data-value": values[i][c][p] });
      cell.style.fill = heat(values[i][c][p], LIMIT);
    }
    const lines = [...run(1, N / now.examples - 1).map(k => `M${x0} ${y0 + k * now.examples * tile}h${C * tile}`),
      ...run(1, C / now.channels - 1).map(k => `M${x0 + k * now.channels * tile} ${y0}v${N * tile}`)];
    set(borders, { d: lines.join("") });
    const [i, c] = corner(now, now.chosen);
    set(outline, { x: x0 + c * tile, y: y0 + i * tile, width: now.channels * tile, height: now.examples * tile });
    const [x, y] = place(now.chosen);
    set(ring, { cx: x + unit / 2, cy: y + unit / 2, r: Math.max(4, unit * 0.36) });
    return top + HEAD + N * tile + 4;
  }
  return { ring, draw };
}

// -------------------------------------------------------------------------------------------------- 4 the figure

function build({ root, change, state, reset }) {
  // --- controls above the drawing
  const bar = add(root, "div", { class: "ex-bar" });
  const named = Object.fromEntries(Object.entries(NAMES).filter(([key]) => preset(state(), key)));
  const press = choice(bar, "scheme", named, key => change(preset(state(), key)));
  button(bar, {}, "reset", reset);

  // --- drawing, sentence, sliders, numbers
  const svg = add(root, "svg");
  let panels = null; // made for a block of this size:
  let made = "";
  const say = words(root);
  const sliders = add(root, "div", { class: "ex-sliders" });
  const share = (trait, axis) => {
    const settings = { trait, name: `${trait} that share`, min: 0, max: 1, text: k => String(divisors(sizes(state())[axis])[k]) };
    const move = slider(sliders, settings, k => change({ [trait]: divisors(sizes(state())[axis])[k] }));
    return now => {
      const all = divisors(sizes(now)[axis]);
      move(all.indexOf(now[trait]), all.length - 1);
    };
  };
  const turns = [share("examples", 0), share("channels", 1)];
  const turnValue = slider(
    sliders, { trait: "value", symbol: "h", name: "of the entry with the ring", min: -4, max: 4, step: 0.1, text: h => show(h, 1) }, moveTo);
  const numbers = add(root, "div", { class: "ex-numbers" });
  const cells = {
    group: readout(numbers, "its group", { n: "n", m: "m", s: "s" }),
    entry: readout(numbers, "entry with the ring", { h: "h", out: "out" }),
  };

  // --- from the model to the screen
  function update(now, { width, last }) {
    const block = sizes(now);
    if (made !== block.join()) {
      made = block.join();
      svg.replaceChildren();
      panels = [["before", "h"], ["after", "(h − m) / √(s² + ε)"]].map(title => panel(svg, now, title, choose));
      panels.forEach(({ ring }) => listen(ring));
    }
    const out = standardize(now);
    const [i, c, p] = now.chosen;
    const key = scheme(now);
    const beside = width >= 520;
    const size = Math.min(beside ? (width - GAP) / 2 : width, 370);
    const bottom = panels[0].draw(now, now.values, 0, 0, size);
    const height = panels[1].draw(now, out, beside ? size + GAP : 0, beside ? 0 : bottom + 14, size);
    set(svg, { width: beside ? 2 * size + GAP : size, height });
    root.style.setProperty("--scheme", key ? `var(--${key})` : "var(--ink)");
    press(key);
    for (const turn of turns) turn(now);
    turnValue(now.values[i][c][p]);
    const { m, s, n } = moments(now, now.chosen);
    Object.entries({ n: String(n), m: show(m), s: show(s) }).forEach(([id, text]) => { cells.group[id].textContent = text; });
    cells.entry.h.textContent = show(now.values[i][c][p], 1);
    cells.entry.out.textContent = show(out[i][c][p]);
    panels.forEach(({ ring }) => set(ring, {
      "aria-label": `example ${i + 1}, channel ${c + 1}, position ${p + 1}: h ${show(now.values[i][c][p], 1)}, ` +
        `output ${show(out[i][c][p])}`,
    }));
    say(sentence(now, last), name(now));
  }

  // --- from the reader to the model
  let grip = null; // where the value stood, and all outputs with it, before a run of moves

  function choose(chosen) {
    grip = null;
    change({ chosen });
  }

  function moveTo(h) {
    const before = state();
    const [i, c, p] = before.chosen;
    const where = JSON.stringify([before.chosen, before.examples, before.channels]);
    if (grip?.where !== where) grip = { where, from: before.values[i][c][p], out: standardize(before) };
    const values = before.values.map(row => row.map(strip => [...strip]));
    values[i][c][p] = Math.round(h * 10) / 10;
    const out = standardize({ ...before, values });
    const moved = out.flat(2).filter((y, k) => Math.abs(y - grip.out.flat(2)[k]) > 1e-9).length;
    change({ values }, { move: { from: grip.from, moved } });
  }

  function listen(ring) {
    set(ring, { tabindex: 0, role: "button", "data-lm-suppress-shortcuts": "true" });
    ring.addEventListener("keydown", event => {
      const step = {
        ArrowLeft: [0, -1, 0], ArrowRight: [0, 1, 0], ArrowUp: [-1, 0, 0], ArrowDown: [1, 0, 0],
        PageUp: [0, 0, -1], PageDown: [0, 0, 1],
      }[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      const now = state();
      choose(now.chosen.map((place, axis) => clamp(place + step[axis], 0, sizes(now)[axis] - 1)));
    });
  }

  return update;
}

export default explorable("who-shares", TRAITS, build);
