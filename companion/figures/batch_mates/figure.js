// One channel of a small batch: drag a batch mate and watch your own output.
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure. `example` counts from 0, and example 0 is "you".

const LIMIT = 5; // both axes run from -LIMIT to LIMIT, so that a curve that falls straight down means out = h

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** All the numbers of the figure: batch norm in train or eval mode, and what one training step would leave. */
export function normalize({ values, gamma, delta, eps, momentum, mode, running_mean, running_var, steps }) {
  const batch = moments(values);
  const running = { m: running_mean, s: Math.sqrt(running_var) };
  const [used, unused] = mode === "train" ? [batch, running] : [running, batch];
  const out = h => gamma * normalized(h, used, eps) + delta;
  const unbiased = (batch.s ** 2 * values.length) / (values.length - 1); // unlike s²
  return {
    used,
    unused,
    outputs: values.map(out),
    ends: [out(used.m - used.s), out(used.m + used.s)],
    after: {
      running_mean: mix(running_mean, batch.m, momentum),
      running_var: mix(running_var, unbiased, momentum),
      steps: steps + 1,
    },
  };
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** What just happened. `last` is { example, from, out }: who moved, from which h, and your output then; or { step }. */
function sentence({ mode, values, momentum, steps }, { outputs }, last) {
  const train = mode === "train";
  if (!last) {
    return train
      ? "Drag a mate sideways: your input stays where it is, your output does not."
      : "Drag a mate sideways: your output stays where it is.";
  }
  if (last.step) {
    return `Training step ${steps}: the running statistics went ${show(momentum)} of the way to this batch’s.`;
  }
  const [moved, change] = [signed(values[last.example] - last.from), outputs[0] - last.out];
  if (last.example === 0) {
    const mates = train ? ", and every mate’s output moved too" : "; no mate’s output did";
    return `You moved by ${moved}: your output moved by ${signed(change)}${mates}.`;
  }
  if (!train) return `A mate moved by ${moved}; your output did not.`;
  return Math.abs(change) < 0.005
    ? `A mate moved by ${moved}; your output moved by less than 0.01.`
    : `Your output moved by ${signed(change)} because a mate moved by ${moved}.`;
}

/** What a reader should know of the statistics in use. */
function remark({ mode, eps, steps, running_mean, running_var }, { used }) {
  if (used.s < 1e-9) {
    return eps > 0 ? "s = 0: only ε keeps the division finite." : "s = 0 and ε = 0: there is nothing to divide by.";
  }
  if (mode === "train") return "m and s are this batch’s own: every example has a say in them.";
  if (steps > 0) return `m and s are the running statistics after ${plural(steps, "training step")}.`;
  return running_mean === 0 && running_var === 1
    ? "No training step yet: the running statistics still hold their starting values, 0 and 1."
    : "No training step yet: the running statistics hold the values that they were given.";
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const ROWS = { title: 15, m: 40, you: 66, top: 98, bottom: 262, out: 300, delta: 321, formula: 346, height: 354 };
const MIDDLE = (ROWS.top + ROWS.bottom) / 2;
const MARGIN = 26;
const BAND = 22; // height of the bands: above the upper axis, below the lower one

const onAxis = value => clamp(value, -LIMIT, LIMIT);
const beyond = value => Math.sign(value - onAxis(value));

/** The scale of both axes, for values that may lie beyond their ends; pixels to a step of 1; and the way back. */
function space(width) {
  const values = [-LIMIT, LIMIT];
  const pixels = [MARGIN, width - MARGIN];
  const across = scale(values, pixels);
  return { x: value => across(onAxis(value)), unit: across(1) - across(0), back: scale(pixels, values), width };
}

/** A curve from the upper axis to the lower one. */
const fall = (from, to) => `M${from} ${ROWS.top}C${from} ${MIDDLE} ${to} ${MIDDLE} ${to} ${ROWS.bottom}`;

/** The same with two sides. */
const ribbon = ([left, right], [leftOut, rightOut]) =>
  `${fall(left, leftOut)}L${rightOut} ${ROWS.bottom}C${rightOut} ${MIDDLE} ${right} ${MIDDLE} ${right} ${ROWS.top}Z`;

/** An axis. Numbers are left out where a mark crosses them, and the odd ones if there is little room. */
function axis({ x, unit, width }, y, below, marks) {
  const number = value => {
    const free = marks.every(mark => Math.abs(x(mark) - x(value)) >= 8) && (value % 2 === 0 || unit >= 48);
    return [
      el("path.fig-base", { d: `M${x(value)} ${y - 3}v6` }),
      free && el("text.fig-tick", { x: x(value), y: y + below }, plain(value)),
    ];
  };
  return [el("path.fig-base", { d: `M${MARGIN - 14} ${y}H${width - MARGIN + 14}` }), range(9).map(i => number(i - 4))];
}

/** Axes, bands, and the ribbon from one band to the other: this is batch norm, the dots only ride on it. */
function statistics({ used, unused, ends, gamma, delta }, area) {
  const { x } = area;
  const band = (kind, middle, half, y) => {
    const from = x(middle - half);
    return el(`rect.${kind}`, { x: from, width: x(middle + half) - from, y, height: BAND });
  };
  const above = ROWS.top - BAND;
  return [
    el("path.bm-flow", { d: ribbon([used.m - used.s, used.m + used.s].map(x), ends.map(x)) }),
    band("fig-band", used.m, used.s, above),
    band("fig-band", delta, Math.abs(gamma), ROWS.bottom),
    band("bm-unused", unused.m, unused.s, above),
    el("path.bm-unused", { d: `M${x(unused.m)} ${above}v${BAND + 7}` }),
    axis(area, ROWS.top, -9, [used.m, unused.m]),
    axis(area, ROWS.bottom, 16, [delta]),
    el("path.bm-center", { d: fall(x(used.m), x(delta)) }),
    el("path.fig-mean", { d: `M${x(used.m)} ${above - 4}v${BAND + 14}` }),
    el("path.fig-mean", { d: `M${x(delta)} ${ROWS.bottom + BAND + 4}v${-BAND - 14}` }),
  ];
}

/** Words for the middle of a band and, if there is room, for its ends. */
function letters({ x, unit }, y, middle, half, [low, center, high]) {
  const end = (value, text) =>
    half * unit > 62 && !beyond(value) && el("text.fig-math.bm-stat.bm-end", { x: x(value), y }, text);
  return [el("text.fig-math.bm-stat", { x: x(middle), y }, center), end(middle - half, low), end(middle + half, high)];
}

function labels({ used, unused, gamma, delta }, mode, area) {
  const title = (y, name, formula) => el("text.fig-title", { x: 2, y }, `${name}: `, el("tspan.fig-math", {}, formula));
  const idle = mode === "train" ? "running mean, unused" : "batch mean, unused";
  const [low, high] = gamma < 0 ? ["δ + γ", "δ − γ"] : ["δ − γ", "δ + γ"];
  return [
    title(ROWS.title, "in", "h"),
    title(ROWS.formula, "out", "γ (h − m) / √(s² + ε) + δ"),
    el("text.bm-idle", { x: Math.max(110, area.x(unused.m)), y: ROWS.title }, idle),
    letters(area, ROWS.m, used.m, used.s, ["m − s", `m = ${show(used.m)}`, "m + s"]),
    letters(area, ROWS.delta, delta, Math.abs(gamma), [low, `δ = ${show(delta)}`, high]),
  ];
}

const mates = ({ length }) => range(length - 1).map(i => length - 1 - i); // the first one last, on top
const radius = example => (example === 0 ? 8.5 : 6.5);

/** A dot; at the end of the axis, an arrowhead for a value that lies beyond. */
function dot(kind, example, { value, size = radius(example), active = false, at = [0, 0], key }) {
  const way = beyond(value);
  const circle = `M${-size} 0a${size} ${size} 0 1 0 ${2 * size} 0a${size} ${size} 0 1 0 ${-2 * size} 0`;
  const arrow = `M${-way * size * 0.7} ${-size}L${way * size * 1.1} 0L${-way * size * 0.7} ${size}Z`;
  const place = { key, d: way ? arrow : circle, transform: `translate(${at})` };
  return el(`path.bm-${kind}`, { class: example === 0 ? "fig-you" : "fig-dot", "data-active": active, ...place });
}

/** Curves and outputs: the mate that moved above the others, you above all; and how far your output has come. */
function outcomes({ inputs, outputs, before }, { x }, active) {
  const [from, to, y] = [x(before), x(outputs[0]), ROWS.bottom];
  const far = Math.abs(to - from) > 1;
  const order = [...mates(inputs).filter(mate => mate !== active), ...(active > 0 ? [active] : []), 0];
  const curve = example => {
    const d = fall(x(inputs[example]), x(outputs[example]));
    const kind = example === 0 ? "bm-yours" : null;
    return el("path.bm-curve", { key: example, class: kind, "data-active": example === active, d });
  };
  const image = example => {
    const [value, size] = [outputs[example], radius(example) - 1.5];
    return dot("image", example, { value, size, active: example === active, at: [x(value), y], key: example });
  };
  return [
    far && el("path.bm-trail", { d: `M${from} ${y}H${to}` }),
    far && el("circle.bm-before", { cx: from, cy: y, r: 7.5 }),
    order.map(curve),
    order.map(image),
  ];
}

/** Who is who. */
function names({ inputs, outputs, before }, { x }, active) {
  const [you, out, mate] = [inputs[0], outputs[0], active > 0 ? inputs[active] : null];
  const apart = mate !== null && Math.abs(x(mate) - x(you)) > 48;
  return [
    el("text.bm-name", { x: x(you), y: ROWS.you }, "you"),
    el("text.bm-name", { x: x(out), y: ROWS.out }, active === null ? "you" : `you ${signed(out - before)}`),
    apart && el("text.bm-mate", { x: x(mate), y: ROWS.you }, `mate ${active}`),
  ];
}

// -------------------------------------------------------------------------------------------------- 4 the figure

/** An example's input, which keys and fingers move. */
function input(example, state, context, { outputs }, area) {
  const { last, shape, change } = context;
  const h = state.values[example];
  const at = [area.x(shape.inputs[example]), ROWS.top];
  const begin = () => ({ example, from: h, out: outputs[0] });
  const move = (to, start) => {
    const moved = Math.round(onAxis(to) * 100) / 100;
    const values = state.values.map((value, i) => (i === example ? moved : value));
    change({ values }, { move: start, glide: false });
  };
  const ways = steps(0, { small: 0.1, large: 1, low: -Infinity, high: Infinity });
  const press = (by, shift) => {
    const run = last?.example === example ? last : begin(); // a run of keys counts as one move
    move(h + (shift && Math.abs(by) < 1 ? by / 10 : by), run);
  };
  const name = example === 0 ? "you, your example" : `mate ${example}`;
  const told = { value: h, low: -LIMIT, high: LIMIT, text: `h ${show(h)}, output ${show(outputs[example])}` };
  const moves = { ...keys(ways, press), ...drag(context, at, ([x], held) => move(area.back(x), held), begin) };
  return handle(
    { at, key: name, "aria-label": name, "aria-orientation": "horizontal", ...told, ...moves },
    el("circle.fig-ring", { r: radius(example) + 4.5 }),
    dot("face", example, { value: shape.inputs[example] }),
  );
}

function picture(state, context, result) {
  const { shape, width, last } = context;
  const [area, active] = [space(width), last?.example ?? null];
  const value = shape.inputs[active];
  // the mate that moved again, above the others: handles keep their order for the tab key
  const lead = active > 0 && dot("lead", active, { value, active: true, at: [area.x(value), ROWS.top] });
  const one = example => input(example, state, context, result, area);
  const norm = [statistics(shape, area), labels(shape, state.mode, area)];
  const examples = [outcomes(shape, area, active), names(shape, area, active)];
  const back = el("g", { "aria-hidden": "true" }, norm, examples);
  return drawing(context, { height: ROWS.height }, back, mates(state.values).map(one), lead, one(0));
}

/** What is drawn, as numbers that glide. */
function shape(state, { last }) {
  const { used, unused, outputs, ends } = normalize(state);
  const { values: inputs, gamma, delta } = state;
  return { inputs, outputs, used, unused, ends, gamma, delta, before: last?.out ?? outputs[0] };
}

const SLIDERS = [
  { trait: "gamma", symbol: "γ", name: "scale", min: -3, max: 3, step: 0.05 },
  { trait: "delta", symbol: "δ", name: "offset", min: -3, max: 3, step: 0.05 },
  { trait: "momentum", name: "momentum", min: 0.01, max: 1, step: 0.01 },
];

function view(state, context) {
  const { change, last } = context;
  const result = normalize(state);
  const { used, outputs, after } = result;
  const options = ["train", "eval"].map(mode => [mode, mode]);
  const mode = choice(context, { trait: "mode", label: "mode", options });
  const step = () => change(after, { move: { step: true } });
  const count = el("span.bm-count", {}, plural(state.steps, "step"));
  const trainer = el("div.bm-trainer", {}, button("take a training step", step), count);
  const source = state.mode === "train" ? "this batch" : "running statistics";
  const running = { mean: show(state.running_mean), variance: show(state.running_var) };
  const knob = settings => slider(context, settings, value => change({ [settings.trait]: value }, { glide: false }));
  return [
    controls(context, {}, mode, trainer),
    picture(state, context, result),
    words(sentence(state, result, last), remark(state, result)),
    sliders(SLIDERS.map(knob)),
    readouts(
      [`used: ${source}`, { m: show(used.m), s: show(used.s) }],
      ["running statistics", running],
      ["you", { h: show(state.values[0]), out: show(outputs[0]) }, "fig-yours"],
    ),
  ];
}

export default figure({ view, shape });
