// One sequence, channels by tokens: change an entry or a token, and see which outputs move.
//
// 1 the arithmetic, 2 the words, 3 the drawing. Channels and positions count from 0 here and from 1 on the screen.

const MOVED = 0.005; // what rounds to 0.00 has not moved: scaling a token shifts its outputs a little, because of ε

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** Layer norm of a table of channels by positions, and the moments of each position. */
function normalize(h, { scheme, eps }) {
  const all = moments(h.flat());
  const shared = h[0].map((_, p) => (scheme === "sequence" ? all : moments(h.map(row => row[p]))));
  return { outputs: h.map(row => row.map((x, p) => normalized(x, shared[p], eps))), shared };
}

/** All the numbers of the figure: in and out, which outputs moved, and how wide the other tokens' outputs spread. */
export function compute(state) {
  const { values, push, factor } = state;
  const [c, p] = [clamp(state.channel, 0, values.length - 1), clamp(state.position, 0, values[0].length - 1)];
  const input = values.map((row, i) => row.map((h, j) => (j === p ? h * factor + (i === c ? push : 0) : h)));
  const [before, { outputs, shared }] = [normalize(values, state), normalize(input, state)];
  const moved = outputs.map((row, i) => row.map((out, j) => Math.abs(out - before.outputs[i][j]) >= MOVED));
  const count = test => sum(moved.map(row => row.filter((yes, j) => yes && test(j)).length));
  const spread = table => moments(table.flatMap(row => row.filter((_, j) => j !== p))).s;
  return {
    ...{ c, p, input, outputs, moved, shared: shared[p] },
    own: count(j => j === p),
    others: count(j => j !== p),
    earlier: count(j => j < p),
    spread: { before: spread(before.outputs), now: spread(outputs) },
  };
}

// --------------------------------------------------------------------------------------------------- 2 the words

const times = factor => show(factor, factor < 1 ? 2 : 1).replace(/\.0$/, "");

/** What was changed, and how many outputs moved. */
function sentence({ push, factor }, { p, own, others, outputs }) {
  const token = `token ${p + 1}`;
  const pushed = Number(show(push)) !== 0;
  if (!pushed && factor === 1) return "Push one entry, or scale a whole token: which outputs move?";
  const what = pushed
    ? `One entry of ${token} pushed by ${signed(push, 1)}${factor === 1 ? "" : `, all × ${times(factor)}`}`
    : `All of ${token} × ${times(factor)}`;
  const total = outputs.flat().length;
  const count = own + others === total ? `all ${total} outputs` : `${own + others} of ${total} outputs`;
  if (own + others === 0) return `${what}: none of ${total} outputs moves.`;
  if (others === 0) return `${what}: ${count} move, none of another token.`;
  return `${what}: ${count} move, ${others} of them other tokens’.`;
}

/** What follows from it. */
function remark({ scheme, factor }, { p, own, others, earlier, spread }) {
  if (others > 0) {
    const share = Math.round(100 * (spread.now / spread.before));
    const way = share < 100 ? `squeezed to ${share} % of` : share > 100 ? `stretched to ${share} % of` : "moved within";
    return `The other tokens are ${way} their spread${earlier > 0 ? `; those before token ${p + 1} move too` : ""}.`;
  }
  if (own > 0) return "No other token hears of it.";
  if (factor !== 1) return "A token’s scale is what its own s takes out.";
  return scheme === "token"
    ? "Outlined: all channels of one token share a mean m and a standard deviation s."
    : "Outlined: all channels and all tokens share one mean m and one standard deviation s.";
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const CELL = 27; // height of a cell
const TOP = 44; // of a table: its title and the numbers of its tokens
const GUTTER = 20; // left of a table, for the numbers of its channels

/** A value on its colour; a dot if it has moved. */
function cell(value, limit, moved, { x, y, width }, attributes) {
  const style = { fill: Math.abs(value) > 0.7 * limit ? "var(--paper)" : "var(--ink)" };
  const dot = { cx: x + width - 5.5, cy: y + 5.5, r: 2.6, visibility: moved ? "visible" : "hidden" };
  return el(
    "g.tk-cell",
    attributes,
    el("rect", { x, y, width, height: CELL, style: { fill: heat(value, limit) } }),
    el("text", { x: x + width / 2, y: y + CELL / 2 + 4, style }, show(value, 1)),
    el("circle", { ...dot, style }),
  );
}

/** A table. `entry` gives the attributes of a cell; `limit` is where the colours end. */
function table({ title, values, limit, moved, grid = {}, row = {}, entry = () => ({}) }, scheme, own, spot) {
  const [channels, positions] = [range(values.length), range(values[0].length)];
  const [left, size] = [p => spot(0, p).x, spot(0, 0).width];
  const cells = c => positions.map(p => cell(values[c][p], limit, moved?.[c][p], spot(c, p), entry(c, p)));
  const group = { y: TOP, height: CELL * channels.length, rx: 3 };
  return [
    el("text.fig-title", { x: GUTTER, y: 14 }, title),
    positions.map(p => el("text.fig-tick", { class: p === own && "tk-own", x: left(p + 0.5), y: TOP - 8 }, p + 1)),
    channels.map(c => el("text.fig-tick", { x: GUTTER - 9, y: spot(c + 0.5, 0).y + 4 }, c + 1)),
    el("g", grid, ...channels.map(c => el("g", row, cells(c)))),
    scheme === "sequence"
      ? el("rect.tk-group", { ...group, x: GUTTER, width: size * positions.length })
      : positions.map(p => el("rect.tk-group", { ...group, x: left(p) + 1.5, width: size - 3 })),
  ];
}

function picture({ scheme, values }, { width, change }, { c, p, input, outputs, moved }) {
  const [channels, positions] = [values.length, values[0].length];
  const [beside, height] = [width >= 560, TOP + CELL * channels + 6];
  const half = beside ? (width - 24) / 2 : width - 4;
  const size = (half - GUTTER) / positions;
  const spot = (i, j) => ({ x: GUTTER + size * j, y: TOP + CELL * i, width: size });
  const choose = (i, j) => change({ channel: clamp(i, 0, channels - 1), position: clamp(j, 0, positions - 1) });
  const entry = (i, j) => ({
    ...{ role: "gridcell", tabindex: i === c && j === p ? 0 : -1, "aria-selected": i === c && j === p },
    "aria-label": `channel ${i + 1}, token ${j + 1}: in ${show(input[i][j])}, out ${show(outputs[i][j])}`,
    onclick: () => choose(i, j),
    ...keys(ARROWS, ([dx, dy]) => choose(i - dy, j + dx)),
  });
  const drawn = cells => cells.matches(":focus-within") && cells.querySelector("[tabindex='0']").focus();
  const grid = { role: "grid", "aria-label": "entries, channels by tokens", drawn };
  const before = { title: "in: h, channels × tokens", values: input, limit: 4, grid, row: { role: "row" }, entry };
  const after = { title: "out: (h − m) / √(s² + ε)", values: outputs, limit: 2.5, moved };
  const place = beside ? `translate(${half + 20} 0)` : `translate(0 ${height + 10})`;
  const cursor = el("rect.tk-cursor", { ...spot(c, p), height: CELL, rx: 2 });
  const legend = el("text.tk-legend.fig-end", { x: half, y: 14 }, "● moved");
  return drawing(
    { width },
    { height: beside ? height : 2 * height + 10, class: "tk-drawing" },
    el("g.tk-in", {}, table(before, scheme, p, spot), cursor),
    el("g.tk-out", { transform: place }, table(after, scheme, p, spot), legend),
  );
}

function view(state, context) {
  const result = compute(state);
  const { p, shared, spread } = result;
  const options = [
    ["sequence", "channels and positions together (UDL)"],
    ["token", "each token by itself (transformers)"],
  ];
  const push = { trait: "push", name: "push the chosen entry", min: -12, max: 12, step: 0.5, text: x => signed(x, 1) };
  const factor = { trait: "factor", name: "scale its whole token", min: -2, max: 3, step: 0.5 };
  const power = {
    value: Math.log2(state.factor),
    text: value => `× ${times(2 ** value)}`,
    spoken: value => `times ${times(2 ** value)}`,
  };
  const who = state.scheme === "token" ? `token ${p + 1}` : "all tokens";
  const texts = { before: show(spread.before), now: show(spread.now) };
  return [
    controls(context, {}, choice(context, { trait: "scheme", label: "who shares a mean and a variance", options })),
    picture(state, context, result),
    words(sentence(state, result), remark(state, result)),
    sliders(
      slider(context, push),
      slider(context, { ...factor, ...power }, value => context.change({ factor: 2 ** value })),
    ),
    readouts(
      [`statistics of ${who}`, { m: show(shared.m), s: show(shared.s) }],
      ["standard deviation of the other tokens’ outputs", texts],
    ),
  ];
}

export default figure({ view });
