// One sequence, channels by tokens: change an entry or a token, and see which outputs move.
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure that ties them together.
// Channels and positions count from 0 here and from 1 on the screen; `state` holds the traits of the Python class Tokens.

const TRAITS = ["values", "scheme", "channel", "position", "push", "factor", "eps"];
const MOVED = 0.005; // what rounds to 0.00 has not moved: scaling a token shifts its outputs a little, because of ε
const [LEAST, MOST] = [-2, 3]; // powers of two that a token can be scaled by

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

const chosen = ({ values, channel, position }) => ({
  c: clamp(channel, 0, values.length - 1),
  p: clamp(position, 0, values[0].length - 1),
});

/** The sequence that goes in: the chosen token scaled, the chosen entry pushed. */
function edit(state) {
  const { c, p } = chosen(state);
  return state.values.map((row, i) =>
    row.map((h, j) => (j === p ? h * state.factor + (i === c ? state.push : 0) : h)));
}

/** Mean and standard deviation of some values. */
function moments(values) {
  const m = values.reduce((sum, h) => sum + h, 0) / values.length;
  return { m, s: Math.sqrt(values.reduce((sum, h) => sum + (h - m) ** 2, 0) / values.length) };
}

/** Layer norm of a table of channels by positions, and the statistics of each position. */
export function normalize(h, scheme, eps) {
  const positions = h[0].map((_, p) => p);
  const all = scheme === "sequence" ? moments(h.flat()) : null;
  const statistics = positions.map(p => all ?? moments(h.map(row => row[p])));
  const outputs = h.map(row => row.map((x, p) => (x - statistics[p].m) / Math.sqrt(statistics[p].s ** 2 + eps)));
  return { outputs, statistics };
}

/** All the numbers of the figure: in and out, which outputs moved, and how wide the other tokens' outputs spread. */
export function compute(state) {
  const { c, p } = chosen(state);
  const before = normalize(state.values, state.scheme, state.eps);
  const input = edit(state);
  const { outputs, statistics } = normalize(input, state.scheme, state.eps);
  const moved = outputs.map((row, i) => row.map((out, j) => Math.abs(out - before.outputs[i][j]) >= MOVED));
  const count = test => moved.reduce((sum, row) => sum + row.filter((yes, j) => yes && test(j)).length, 0);
  const spread = table => moments(table.flatMap(row => row.filter((_, j) => j !== p))).s;
  return {
    c,
    p,
    input,
    outputs,
    moved,
    statistics: statistics[p],
    own: count(j => j === p),
    others: count(j => j !== p),
    earlier: count(j => j < p),
    spread: { before: spread(before.outputs), now: spread(outputs) },
  };
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** What was changed, and how many outputs moved. */
export function sentence(state, result) {
  const token = `token ${result.p + 1}`;
  const { own, others, outputs } = result;
  const pushed = Number(show(state.push)) !== 0;
  const scaled = state.factor !== 1;
  if (!pushed && !scaled) return "Push one entry, or scale a whole token: which outputs move?";
  const what = pushed
    ? `One entry of ${token} pushed by ${signed(state.push, 1)}${scaled ? `, all × ${times(state.factor)}` : ""}`
    : `All of ${token} × ${times(state.factor)}`;
  const total = outputs.length * outputs[0].length;
  const count = own + others === total ? `all ${total} outputs` : `${own + others} of ${total} outputs`;
  if (own + others === 0) return `${what}: none of ${total} outputs moves.`;
  if (others === 0) return `${what}: ${count} move, none of another token.`;
  return `${what}: ${count} move, ${others} of them other tokens’.`;
}

/** What follows from it. */
export function remark(state, result) {
  const token = `token ${result.p + 1}`;
  if (result.others > 0) {
    const { before, now } = result.spread;
    const share = Math.round(100 * (now / before));
    const change = share < 100 ? `squeezed to ${share} % of` : share > 100 ? `stretched to ${share} % of` : "moved within";
    return `The other tokens are ${change} their spread${result.earlier > 0 ? `; those before ${token} move too` : ""}.`;
  }
  if (result.own > 0) return "No other token hears of it.";
  if (state.factor !== 1) return "A token’s scale is what its own s takes out.";
  return state.scheme === "token"
    ? "Outlined: all channels of one token share a mean m and a standard deviation s."
    : "Outlined: all channels and all tokens share one mean m and one standard deviation s.";
}

const times = factor => show(factor, factor < 1 ? 2 : 1).replace(/\.0$/, "");

// ------------------------------------------------------------------------------------------------- 3 the drawing

const CELL = 27; // height of a cell
const TOP = 44; // of a table: its title and the numbers of its tokens
const GUTTER = 20; // left of a table, for the numbers of its channels
const LIMIT = { in: 4, out: 2.5 }; // where the colours end
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** One table of cells in `svg`. Returns a function that draws values at a place. */
function table(svg, channels, positions, title, kind) {
  const box = add(svg, "g", { class: `tk-${kind}` });
  add(box, "text", { class: "tk-title", x: GUTTER, y: 14 }, title);
  const legend = kind === "out" ? add(box, "text", { class: "tk-legend", y: 14 }, "● moved") : null;
  const heads = positions.map(p => add(box, "text", { class: "tk-number", y: TOP - 8 }, p + 1));
  channels.forEach(c => add(box, "text", { class: "tk-number", x: GUTTER - 9, y: TOP + CELL * (c + 0.5) + 4 }, c + 1));
  const grid = add(box, "g", kind === "in" ? { role: "grid", "aria-label": "entries, channels by tokens" } : {});
  const cells = channels.map(c => {
    const row = add(grid, "g", kind === "in" ? { role: "row" } : {});
    return positions.map(() => {
      const cell = add(row, "g", { class: "tk-cell", ...(kind === "in" ? { role: "gridcell" } : {}) });
      return {
        cell,
        face: add(cell, "rect", { y: TOP + CELL * c, height: CELL }),
        text: add(cell, "text", { y: TOP + CELL * (c + 0.5) + 4 }),
        mark: add(cell, "circle", { cy: TOP + CELL * c + 5.5, r: 2.6 }),
      };
    });
  });
  const outlines = positions.map(() => add(box, "rect", { class: "tk-group", y: TOP, height: CELL * channels.length, rx: 3 }));
  const cursor = add(box, "rect", { class: "tk-cursor", height: CELL, rx: 2 });

  return { cells, draw({ x, y, width, values, moved, scheme, at }) {
    const size = (width - GUTTER) / positions.length;
    const left = p => GUTTER + size * p;
    set(box, { transform: `translate(${x} ${y})` });
    if (legend) set(legend, { x: width });
    heads.forEach((head, p) => {
      set(head, { x: left(p + 0.5) });
      head.classList.toggle("tk-own", p === at.p);
    });
    cells.forEach((row, c) => row.forEach(({ face, text, mark }, p) => {
      const value = values[c][p];
      set(face, { x: left(p), width: size });
      face.style.fill = heat(value, LIMIT[kind]);
      set(text, { x: left(p + 0.5) });
      text.textContent = show(value, 1);
      text.style.fill = Math.abs(value) > 0.7 * LIMIT[kind] ? "var(--paper)" : "var(--ink)";
      set(mark, { cx: left(p + 1) - 5.5, visibility: moved?.[c][p] ? "visible" : "hidden" });
      mark.style.fill = text.style.fill;
    }));
    outlines.forEach((outline, p) => {
      const whole = scheme === "sequence";
      set(outline, { x: left(p) + (whole ? 0 : 1.5), width: whole ? width - GUTTER : size - 3 });
      set(outline, { visibility: whole && p > 0 ? "hidden" : "visible" });
    });
    set(cursor, { x: left(at.p), y: TOP + CELL * at.c, width: size });
    set(cursor, { visibility: kind === "in" ? "visible" : "hidden" });
  } };
}

// -------------------------------------------------------------------------------------------------- 4 the figure

function build({ root, change, state, reset }) {
  const bar = add(root, "div", { class: "ex-bar" });
  const schemes = { sequence: "channels and positions together (UDL)", token: "each token by itself (transformers)" };
  const press = choice(bar, "who shares a mean and a variance", schemes, scheme => change({ scheme }));
  button(bar, {}, "reset", reset);
  const stage = add(root, "div");
  let picture = null; // { svg, before, after, size }
  const say = words(root);

  const sliders = add(root, "div", { class: "ex-sliders" });
  const push = slider(
    sliders,
    { trait: "push", name: "push the chosen entry", min: -12, max: 12, step: 0.5, text: value => signed(value, 1) },
    value => change({ push: value }),
  );
  const scale = slider(
    sliders,
    {
      trait: "factor",
      name: "scale its whole token",
      min: LEAST,
      max: MOST,
      step: 0.5,
      text: power => `× ${times(2 ** power)}`,
      spoken: power => `times ${times(2 ** power)}`,
    },
    power => change({ factor: 2 ** power }),
  );
  const numbers = add(root, "div", { class: "ex-numbers" });
  const used = readout(numbers, "", { m: "m", s: "s" });
  const spread = readout(numbers, "standard deviation of the other tokens’ outputs", { before: "before", now: "now" });

  function make(channels, positions) {
    picture?.svg.remove();
    const svg = add(stage, "svg", { class: "tk-drawing" });
    const lists = [channels, positions].map(count => [...Array(count).keys()]);
    const before = table(svg, ...lists, "in: h, channels × tokens", "in");
    const after = table(svg, ...lists, "out: (h − m) / √(s² + ε)", "out");
    before.cells.forEach((row, c) => row.forEach(({ cell }, p) => {
      set(cell, { "data-lm-suppress-shortcuts": "true" });
      cell.addEventListener("click", () => change({ channel: c, position: p }));
      cell.addEventListener("keydown", event => {
        const step = ARROWS[event.key];
        if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        event.stopPropagation();
        const to = { c: clamp(c + step[0], 0, channels - 1), p: clamp(p + step[1], 0, positions - 1) };
        change({ channel: to.c, position: to.p });
        picture.before.cells[to.c][to.p].cell.focus();
      });
    }));
    return { svg, before, after, size: `${channels} ${positions}` };
  }

  return (now, { width }) => {
    const result = compute(now);
    const [channels, positions] = [now.values.length, now.values[0].length];
    if (picture?.size !== `${channels} ${positions}`) picture = make(channels, positions);
    const beside = width >= 560;
    const height = TOP + CELL * channels + 6;
    const half = beside ? (width - 24) / 2 : width - 4;
    set(picture.svg, { width, height: beside ? height : 2 * height + 10 });
    const common = { width: half, scheme: now.scheme, at: result };
    picture.before.draw({ ...common, x: 0, y: 0, values: result.input });
    picture.after.draw({
      ...common,
      x: beside ? half + 20 : 0,
      y: beside ? 0 : height + 10,
      values: result.outputs,
      moved: result.moved,
    });
    picture.before.cells.forEach((row, c) => row.forEach(({ cell }, p) => {
      const here = c === result.c && p === result.p;
      const value = `in ${show(result.input[c][p])}, out ${show(result.outputs[c][p])}`;
      set(cell, {
        tabindex: here ? 0 : -1,
        "aria-selected": here,
        "aria-label": `channel ${c + 1}, token ${p + 1}: ${value}`,
      });
    }));
    press(now.scheme);
    push(now.push);
    scale(Math.log2(now.factor));
    used.head.textContent = now.scheme === "token" ? `statistics of token ${result.p + 1}` : "statistics of all tokens";
    used.m.textContent = show(result.statistics.m);
    used.s.textContent = show(result.statistics.s);
    spread.before.textContent = show(result.spread.before);
    spread.now.textContent = show(result.spread.now);
    say(sentence(now, result), remark(now, result));
  };
}

export default explorable("tokens", TRAITS, build);
