// A block of examples × channels × positions: which entries share the chosen one's mean and variance?
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure. An entry is [example, channel, position], from 0.

const LIMIT = 2.5; // values from −LIMIT to LIMIT have colours of their own

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

const sizes = ({ values }) => [values.length, values[0].length, values[0][0].length];
const run = (start, length) => range(length).map(i => start + i);
const entries = (rows, columns, positions) =>
  rows.flatMap(i => columns.flatMap(c => range(positions).map(p => [i, c, p])));
const copy = values => values.map(row => row.map(strip => [...strip]));

/** First example and first channel of the group that an entry belongs to: groups are runs of neighbours. */
const corner = ({ examples, channels }, [i, c]) => [i - (i % examples), c - (c % channels)];

/** All entries of that group. */
export function sharers(state, entry) {
  const [i, c] = corner(state, entry);
  return entries(run(i, state.examples), run(c, state.channels), sizes(state)[2]);
}

/** Mean and standard deviation of the group that an entry belongs to. */
const shared = (state, entry) => moments(sharers(state, entry).map(([i, c, p]) => state.values[i][c][p]));

/** The whole block, standardized: in every group (h − m) / √(s² + ε). */
export function standardize(state) {
  const [N, C] = sizes(state);
  const out = copy(state.values);
  for (const i of range(N / state.examples)) {
    for (const c of range(C / state.channels)) {
      const first = [i * state.examples, c * state.channels, 0];
      const group = shared(state, first);
      for (const [a, b, p] of sharers(state, first)) out[a][b][p] = normalized(out[a][b][p], group, state.eps);
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
    return (
      `One input moved by ${signed(state.values[i][c][p] - last.from, 1)}: ` +
      `${plural(last.moved, "output")} moved, ${stayed} did not.`
    );
  }
  const factors = [
    [state.examples, "example"],
    [state.channels, "channel"],
    [L, "position"],
  ];
  return `${n} entries share: ${factors.map(([count, noun]) => plural(count, noun)).join(" × ")}.`;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const HEAD = 34; // above a panel: its title and the word "channel"
const SIDE = 22; // left of a panel: the word "example"
const GAP = 28; // between the panels

/** Where a panel's tiles, cells and groups lie, for one that is `size` wide. */
function grid(state, left, top, size) {
  const [, C, L] = sizes(state);
  const wide = Math.ceil(Math.sqrt(L)); // a tile of positions is as square as it can be
  const [x, y, tile] = [left + SIDE, top + HEAD, (size - SIDE) / C];
  const gap = Math.max(2, tile * 0.12);
  const unit = (tile - gap) / wide;
  const place = ([i, c, p]) => [
    x + c * tile + gap / 2 + (p % wide) * unit,
    y + i * tile + gap / 2 + Math.floor(p / wide) * unit,
  ];
  return { x, y, tile, unit, place };
}

/** One cell for each entry; those that share with the chosen one are marked. */
function cells(state, values, { unit, place }, choose) {
  const [N, C, L] = sizes(state);
  const group = new Set(sharers(state, state.chosen).map(String));
  return entries(range(N), range(C), L).map(entry => {
    const [i, c, p] = entry;
    const [x, y] = place(entry);
    const [value, share] = [values[i][c][p], group.has(String(entry))];
    const marks = { "data-entry": entry.join(), "data-shares": share, "data-value": value };
    const look = { x, y, width: unit, height: unit, style: { fill: heat(value, LIMIT) } };
    return el("rect.ws-cell", { ...marks, ...look, onclick: () => choose(entry) });
  });
}

/** The outlines of all groups and of the chosen one's. */
function outlines({ values, examples, channels, chosen }, { x, y, tile }) {
  const [N, C] = [values.length, values[0].length];
  const across = run(1, N / examples - 1).map(k => `M${x} ${y + k * examples * tile}h${C * tile}`);
  const down = run(1, C / channels - 1).map(k => `M${x + k * channels * tile} ${y}v${N * tile}`);
  const [i, c] = corner({ examples, channels }, chosen);
  const box = { x: x + c * tile, y: y + i * tile, width: channels * tile, height: examples * tile };
  return [el("path.ws-borders", { d: [...across, ...down].join("") }), el("rect.ws-outline", { rx: 4, ...box })];
}

const STEPS = {
  ...{ ArrowLeft: [0, -1, 0], ArrowRight: [0, 1, 0], ArrowUp: [-1, 0, 0], ArrowDown: [1, 0, 0] },
  ...{ PageUp: [0, 0, -1], PageDown: [0, 0, 1] },
};

/** The ring on the chosen entry, which keys move. */
function ring(state, out, { unit, place }, choose) {
  const [i, c, p] = state.chosen;
  const [x, y] = place(state.chosen);
  const step = by => choose(state.chosen.map((at, axis) => clamp(at + by[axis], 0, sizes(state)[axis] - 1)));
  const label =
    `example ${i + 1}, channel ${c + 1}, position ${p + 1}: ` +
    `h ${show(state.values[i][c][p], 1)}, output ${show(out[i][c][p])}`;
  const spot = { cx: x + unit / 2, cy: y + unit / 2, r: Math.max(4, unit * 0.36) };
  return el("circle.ws-ring", { tabindex: 0, role: "button", "aria-label": label, ...spot, ...keys(STEPS, step) });
}

/** A panel of values: `title` is a word and a formula. */
function block(state, values, out, [title, formula], [left, top, size], choose) {
  const lie = grid(state, left, top, size);
  const middle = lie.x + (size - SIDE) / 2;
  const turned = `translate(${left + 12} ${lie.y + (state.values.length * lie.tile) / 2}) rotate(-90)`;
  return el(
    "g",
    {},
    el("text.ws-title", { x: middle, y: top + 14 }, `${title}: `, el("tspan.fig-math", {}, formula)),
    el("text.ws-axis", { x: middle, y: top + 29 }, "channel →"),
    el("text.ws-axis", { transform: turned }, "← example"),
    cells(state, values, lie, choose),
    outlines(state, lie),
    ring(state, out, lie, choose),
  );
}

function picture(state, context, out, choose) {
  const [N, C] = sizes(state);
  const beside = context.width >= 520;
  const size = Math.min(beside ? (context.width - GAP) / 2 : context.width, 370);
  const tall = HEAD + (N * (size - SIDE)) / C + 4;
  const [x, y] = beside ? [size + GAP, 0] : [0, tall + 14];
  const area = { width: beside ? 2 * size + GAP : size };
  return drawing(
    area,
    { height: y + tall },
    block(state, state.values, out, ["before", "h"], [0, 0, size], choose),
    block(state, out, out, ["after", "(h − m) / √(s² + ε)"], [x, y, size], choose),
  );
}

// -------------------------------------------------------------------------------------------------- 4 the figure

/** Move the value of the chosen entry, and count the outputs that are not where they were before a run of moves. */
function moveTo(h, { state, last, change }) {
  const [i, c, p] = state.chosen;
  const start = last ?? { from: state.values[i][c][p], out: standardize(state) };
  const values = copy(state.values);
  values[i][c][p] = Math.round(h * 10) / 10;
  const was = start.out.flat(2);
  const moved = standardize({ ...state, values })
    .flat(2)
    .filter((y, k) => Math.abs(y - was[k]) > 1e-9).length;
  change({ values }, { move: { ...start, moved } });
}

function view(state, context) {
  const [N, C, L] = sizes(state);
  const [i, c, p] = state.chosen;
  const [out, key, { m, s }] = [standardize(state), scheme(state), shared(state, state.chosen)];
  const h = state.values[i][c][p];
  const named = Object.entries(NAMES).filter(([name]) => preset(state, name));
  const schemes = { label: "scheme", options: named, value: key };
  const value = {
    trait: "value",
    symbol: "h",
    name: "of the entry with the ring",
    min: -4,
    max: 4,
    step: 0.1,
    value: h,
  };
  return el(
    "div",
    { style: { "--scheme": key ? `var(--${key})` : "var(--ink)" } },
    controls(
      context,
      {},
      choice(context, schemes, name => context.change(preset(state, name))),
    ),
    picture(state, context, out, chosen => context.change({ chosen })),
    words(sentence(state, context.last), name(state)),
    sliders(
      pick(context, { trait: "examples", name: "examples that share", values: divisors(N) }),
      pick(context, { trait: "channels", name: "channels that share", values: divisors(C) }),
      slider(context, { ...value, text: x => show(x, 1) }, x => moveTo(x, context)),
    ),
    readouts(
      ["its group", { n: String(state.examples * state.channels * L), m: show(m), s: show(s) }],
      ["entry with the ring", { h: show(h, 1), out: show(out[i][c][p]) }],
    ),
  );
}

export default figure({ view });
