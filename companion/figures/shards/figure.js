// One unit's values on several machines: whose mean and standard deviation normalize them?
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure. `machine` and `example` count from 0.

const LIMIT = 5; // the upper axis runs from -LIMIT to LIMIT
const REACH = 3; // the lower one from -REACH to REACH

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** First and last-but-one example of each machine: sizes differ by one at most, and the larger come first. */
export function deal(count, machines) {
  const least = Math.floor(count / machines);
  const more = count % machines;
  return range(machines).map(k => {
    const from = k * least + Math.min(k, more);
    return [from, from + least + (k < more ? 1 : 0)];
  });
}

/** All the numbers of the figure: inputs, statistics, outputs, and those of one machine that holds the batch. */
export function compute(state) {
  const shards = deal(state.values.length, state.machines);
  const machine = state.values.map((_, example) => shards.findIndex(([, end]) => example < end));
  const inputs = state.values.map((h, example) => h + state.drifts[machine[example]]);
  const whole = moments(inputs);
  const own = shards.map(([from, end]) => moments(inputs.slice(from, end)));
  const sync = state.norm === "sync";
  const outputs = inputs.map((h, example) => normalized(h, sync ? whole : own[machine[example]], state.eps));
  const wanted = inputs.map(h => normalized(h, whole, state.eps));
  const off = Math.max(...outputs.map((y, example) => Math.abs(y - wanted[example])));
  const sent = sync && state.machines > 1 ? { forward: 3, back: 2 } : { forward: 0, back: 0 }; // 2C + 1 and 2C, C = 1
  return { machine, inputs, whole, own, outputs, wanted, off, sent };
}

// --------------------------------------------------------------------------------------------------- 2 the words

export function sentence(state, { off }, last) {
  if (state.machines === 1) return "One machine holds the whole batch: this is what we want.";
  const moved = last === null ? "" : `Machine ${last + 1} drifts by ${signed(state.drifts[last], 1)}: `;
  if (state.norm === "sync") return `${moved || "Synchronised: "}every output is what one machine would give.`;
  const miss = off < 0.005 ? "the outputs are off by less than 0.01." : `outputs are off by up to ${show(off)}.`;
  return `${moved || "Each for itself: "}${miss}`;
}

export function remark(state, { sent }) {
  if (state.machines === 1) return "Nothing travels. Take more machines.";
  if (state.norm === "local") return "Nothing travels. Each machine takes out its own mean, so that the drift is lost.";
  return (
    `From each machine ${sent.forward} numbers travel forward (sum, count, squares) and ${sent.back} back, ` +
    "however many examples it holds."
  );
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const MARGIN = 24;
const LANE = 44;
const TITLE = 20;
const TICKS = 20;

/** A panel: for each machine a row, and in it a band of m ± s and a line at m. */
function lanes({ state, width }, box, title, formula, used) {
  const sync = state.norm === "sync";
  const gap = sync ? 0 : 5; // one band over all rows where all share, a band in each row where each is for itself
  const inside = x => box.x(clamp(x, -box.limit, box.limit));
  const row = k => {
    const { m, s } = used(k);
    const [y, from, to] = [box.top + k * LANE, inside(m - s), inside(m + s)];
    const [top, height] = [y + gap, LANE - 2 * gap];
    return [
      el("rect.fig-band", { x: from, width: to - from, y: top, height }),
      el("path.sh-lane", { d: `M${MARGIN - 12} ${y + LANE / 2}H${width - MARGIN + 12}` }),
      el("path.fig-mean", { d: `M${inside(m)} ${top}v${height}` }),
    ];
  };
  const even = width < 400 && box.limit > 3; // no room for all numbers
  const numbers = range(2 * box.limit + 1).map(i => i - box.limit);
  return [
    el("text.sh-title", { x: 2, y: box.top - 7 }, title, formula),
    range(state.machines).map(row),
    box.columns(even ? numbers.filter(value => value % 2 === 0) : numbers),
  ];
}

/** Each example: its input above; below its output, and where one machine that holds all would put it. */
function marks({ machine, inputs, outputs, wanted }, above, below) {
  const inside = ({ x, limit }, value) => x(clamp(value, -limit, limit));
  return inputs.map((h, example) => {
    const jitter = ((example % 3) - 1) * 7; // neighbours would cover each other
    const [y0, y1] = [above, below].map(({ top }) => top + (machine[example] + 0.5) * LANE + jitter);
    const [at, right] = [inside(below, outputs[example]), inside(below, wanted[example])];
    const off = Math.abs(outputs[example] - wanted[example]) >= 0.005;
    const value = { "data-off": off, "data-value": outputs[example] };
    return [
      el("path.sh-miss", { d: `M${right} ${y1}H${at}` }),
      el("circle.sh-wanted", { r: 6.5, cx: right, cy: y1 }),
      el("circle.sh-input", { r: 4.5, cx: inside(above, h), cy: y0 }),
      el("circle.sh-output", { r: 3.8, cx: at, cy: y1, ...value }),
    ];
  });
}

/** The handle that drags a machine's values along. */
function machineHandle(k, context, { own }, box) {
  const { state } = context;
  const drift = state.drifts[k];
  const moveTo = target => {
    const drifts = [...state.drifts];
    drifts[k] = Math.round(clamp(target, -LIMIT, LIMIT) * 10) / 10;
    context.change({ drifts }, { move: k });
  };
  const at = [box.x(clamp(own[k].m, -LIMIT, LIMIT)), box.top + (k + 0.5) * LANE];
  const start = () => ({ drift, from: at[0] });
  const move = ([x], held) => moveTo(held.drift + (x - held.from) / (box.x(1) - box.x(0)));
  const said = `drift ${signed(drift, 1)}, mean ${show(own[k].m)}`;
  const limits = { low: -LIMIT, high: LIMIT };
  return handle(
    {
      ...{ at, value: drift, ...limits, text: said, "aria-label": `drift of machine ${k + 1}` },
      ...{ "aria-orientation": "horizontal", class: "sh-handle" },
      ...keys(steps(drift, { small: 0.1, large: 1, ...limits }), moveTo),
      ...drag(context, at, move, start),
    },
    el("path.sh-face", { d: "M-6 -8h12l7 8l-7 8h-12l-7 -8Z" }),
    el("text", { y: 4.5 }, k + 1),
  );
}

function picture(context, result) {
  const { state, width } = context;
  const { machines, norm } = state;
  const box = (top, limit) => {
    const place = { left: MARGIN, right: width - MARGIN, top, bottom: top + machines * LANE };
    return { ...panel({ ...place, x: [-limit, limit], y: [0, 1] }), limit };
  };
  const above = box(TITLE, LIMIT);
  const below = box(above.bottom + TITLE + TICKS + 12, REACH);
  const used = k => (norm === "sync" ? result.whole : result.own[k]);
  const formula = el("tspan.fig-math", {}, "(h − m) / √(s² + ε)");
  return drawing(
    context,
    { height: below.bottom + TICKS },
    el(
      "g",
      { "aria-hidden": "true" },
      lanes(context, above, "in: ", "h, a row for each machine", used),
      lanes(context, below, "out: ", formula, () => ({ m: 0, s: 1 })),
      marks(result, above, below),
    ),
    range(machines).map(k => machineHandle(k, context, result, above)),
  );
}

// -------------------------------------------------------------------------------------------------- 4 the figure

const sign = (tag, attributes) => el(tag, { transform: "translate(13 7)", ...attributes });
const KEY = [
  [sign("path.sh-face", { d: "M-6 -5h12l4 5l-4 5h-12l-4 -5Z" }), "drag: a machine"],
  [sign("circle.sh-wanted", { r: 6.5 }), "wanted: one machine with all"],
  [sign("circle.sh-output", { r: 3.8 }), "output"],
];

function view(state, context) {
  const result = compute(state);
  const used = state.norm === "sync" || state.machines === 1 ? [result.whole] : result.own;
  const list = values => values.map(value => show(value)).join(", ");
  const counts = range(4).map(k => [k + 1, k < 3 ? `${k + 1}` : "4 machines"]);
  const norms = Object.entries({ local: "each for itself", sync: "synchronised" });
  const { forward, back } = result.sent;
  return [
    controls(
      context,
      {},
      choice(context, { trait: "machines", label: "machines", options: counts }),
      choice(context, { trait: "norm", label: "norm", options: norms }),
    ),
    picture(context, result),
    legend(...KEY),
    words(sentence(state, result, context.last), remark(state, result)),
    readouts(
      ["mean and standard deviation in use", { m: list(used.map(({ m }) => m)), s: list(used.map(({ s }) => s)) }],
      ["numbers that each machine sends", { forward: String(forward), back: String(back) }],
    ),
  ];
}

export default figure({ view });
