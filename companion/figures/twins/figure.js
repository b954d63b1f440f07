// A small network trained twice: with weight decay, and without it, with a rate that grows. Do the two stay the same?
//
// 1 the arithmetic, 2 the words, 3 the drawing.

const CONDITIONS = {
  normalized: ["batch norm", "there is no batch norm"],
  pushed: ["push at the start", "the twin's momentum starts at rest"],
  last_fixed: ["last layer fixed", "the last layer is trained"],
  affine_fixed: ["γ, δ fixed", "γ and δ are trained"],
};
const CLASSES = 3;
const SAME = 1e-9; // the bound of the chapter's claims

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** Largest root of α² − (1 + μ − λη) α + μ = 0. */
function root({ learning_rate, momentum, weight_decay }) {
  const b = 1 + momentum - weight_decay * learning_rate;
  return (b + Math.sqrt(Math.max(0, b * b - 4 * momentum))) / 2;
}

/** The sum of `term(0)` to `term(count - 1)`. */
function total(count, term) {
  let result = 0;
  for (let i = 0; i < count; i++) result += term(i);
  return result;
}

/** Outputs (N × classes), loss, and the loss's gradients for all parameters `p`. */
function evaluate({ points, eps, normalized }, p) {
  const [N, H] = [points.length, p.gamma.length];
  const outputs = points.map(() => new Float64Array(CLASSES));
  const units = [];
  for (let j = 0; j < H; j++) {
    const h = points.map(([x, y]) => x * p.first[2 * j] + y * p.first[2 * j + 1]);
    const m = normalized ? total(N, i => h[i]) / N : 0;
    const r = normalized ? Math.sqrt(total(N, i => (h[i] - m) ** 2) / N + eps) : 1;
    const hat = h.map(value => (value - m) / r);
    const z = hat.map(value => Math.max(0, p.gamma[j] * value + p.delta[j]));
    units.push({ r, hat, z });
    for (let i = 0; i < N; i++) for (let k = 0; k < CLASSES; k++) outputs[i][k] += z[i] * p.last[CLASSES * j + k];
  }
  let loss = 0;
  const g = outputs.map((row, i) => {
    // the loss's gradient for the outputs
    const top = Math.max(...row);
    const shares = Array.from(row, value => Math.exp(value - top));
    const all = total(CLASSES, k => shares[k]);
    loss += (Math.log(all) + top - row[points[i][2]]) / N;
    return shares.map((share, k) => (share / all - (k === points[i][2] ? 1 : 0)) / N);
  });
  const d = Object.fromEntries(Object.entries(p).map(([name, values]) => [name, new Float64Array(values.length)]));
  units.forEach(({ r, hat, z }, j) => {
    for (let k = 0; k < CLASSES; k++) d.last[CLASSES * j + k] = total(N, i => z[i] * g[i][k]);
    const back = z.map((value, i) => (value > 0 ? total(CLASSES, k => g[i][k] * p.last[CLASSES * j + k]) : 0));
    d.gamma[j] = total(N, i => back[i] * hat[i]);
    d.delta[j] = total(N, i => back[i]);
    const [mean, along] = normalized ? [d.delta[j] / N, d.gamma[j] / N] : [0, 0];
    const inner = back.map((value, i) => (p.gamma[j] / r) * (value - mean - hat[i] * along)); // for h: chapter 1
    d.first[2 * j] = total(N, i => inner[i] * points[i][0]);
    d.first[2 * j + 1] = total(N, i => inner[i] * points[i][1]);
  });
  return { outputs, loss, gradients: d };
}

/** Losses, outputs and the length of the first layer's weights at steps 0 … steps; rates of the steps. */
function train(state, twin) {
  const { units, learning_rate, momentum, weight_decay, steps } = state;
  const alpha = root(state);
  const p = {
    first: Float64Array.from(units.flatMap(unit => unit.slice(0, 2))),
    last: Float64Array.from(units.flatMap(unit => unit.slice(2))),
    gamma: new Float64Array(units.length).fill(1),
    delta: new Float64Array(units.length),
  };
  const trained = ["first", ...(state.last_fixed ? [] : ["last"]), ...(state.affine_fixed ? [] : ["gamma", "delta"])];
  const push = twin && state.pushed ? -(1 - alpha) / (learning_rate * alpha) : 0;
  const v = Object.fromEntries(trained.map(name => [name, p[name].map(value => push * value)]));
  const run = { loss: [], outputs: [], length: [], rate: [] };
  for (let t = 0; t <= steps; t++) {
    const { outputs, loss, gradients } = evaluate(state, p);
    run.loss.push(loss);
    run.outputs.push(outputs);
    run.length.push(Math.hypot(...p.first));
    if (t === steps) break;
    const rate = twin ? learning_rate * alpha ** (-2 * t - 1) : learning_rate;
    run.rate.push(rate);
    for (const name of trained) {
      for (let i = 0; i < p[name].length; i++) {
        v[name][i] = momentum * v[name][i] + gradients[name][i] + (twin ? 0 : weight_decay * p[name][i]);
        p[name][i] -= rate * v[name][i];
      }
    }
  }
  return run;
}

/** Both runs, and the largest difference of an output at each step (NaN once one is not a number). */
export function compute(state) {
  const [decay, twin] = [train(state, false), train(state, true)];
  const gap = decay.outputs.map((rows, t) =>
    worst(rows.flatMap((row, i) => Array.from(row, (value, k) => Math.abs(value - twin.outputs[t][i][k])))),
  );
  const numbers = ({ loss, length, rate }) => ({ loss, length, rate });
  return { decay: numbers(decay), twin: numbers(twin), gap, growth: root(state) ** (-2 * (state.steps - 1)) };
}

const worst = gap => gap.reduce((most, value) => (value <= most ? most : value), 0);

// --------------------------------------------------------------------------------------------------- 2 the words

/** A number with two significant digits, as 0.34, 120 or 3.2 × 10⁷. */
function brief(x) {
  if (!Number.isFinite(x)) return "∞";
  if (x === 0) return "0";
  const power = Math.floor(Math.log10(Number(Math.abs(x).toPrecision(2))));
  if (power >= -2 && power < 4) return String(Number(x.toFixed(Math.max(0, 1 - power))));
  const factor = (x / 10 ** power).toFixed(1);
  return `${factor === "1.0" ? "" : `${factor} × `}10${raised(power)}`;
}

/** The conditions that do not hold, in words. */
function broken(state) {
  const off = Object.entries(CONDITIONS).flatMap(([name, [, words]]) => (state[name] ? [] : [words]));
  return state.normalized && state.eps > 0 ? ["ε is not 0", ...off] : off;
}

function sentence({ gap, growth }) {
  const most = worst(gap);
  const lost = gap.findIndex(value => !Number.isFinite(value));
  if (lost >= 0) return `The runs part: at step ${lost}, an output is no number any more.`;
  if (most > SAME) return `The runs part: an output differs by ${brief(most)}.`;
  const digits = most === 0 ? "last" : `${Math.floor(-Math.log10(most))}th`;
  if (growth < 1.005) return "Without weight decay the rate stays as it is, and so the runs are the same.";
  return `The rate grows ${brief(growth)}-fold, and all outputs stay the same to the ${digits} decimal.`;
}

function remark(state, { gap }) {
  const [reasons, apart] = [broken(state), !(worst(gap) <= SAME)];
  if (reasons.length === 0) return apart ? "All conditions hold: this is rounding that grew." : "All conditions hold.";
  const list = reasons.join("; ");
  const head = list[0] === "ε" ? list : list[0].toUpperCase() + list.slice(1);
  return `${head}.${apart ? "" : " Here that makes no difference."}`;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const [LOWEST, HIGHEST] = [1e-17, 1e2]; // the axis of differences
const EPSILONS = [0, 1e-8, 1e-6, 1e-4, 1e-2];
const DECAY = { most: 0.01, step: 0.0005 };

/** The largest weight decay on the slider that has a real α. */
function strongest({ learning_rate }, momentum) {
  const product = Math.min((1 - Math.sqrt(momentum)) ** 2, 0.9);
  return Math.min(DECAY.most, DECAY.step * Math.floor(product / learning_rate / DECAY.step + 1e-9));
}

/** A curve of values, step by step, that ends before the first that is not finite. */
function curve(kind, box, values, low, high) {
  const end = values.findIndex(value => !Number.isFinite(value));
  const shown = end < 0 ? values : values.slice(0, end);
  return el(`path.tw-${kind}`, { d: line(shown.map((value, t) => [box.x(t), box.y(clamp(value, low, high))])) });
}

/** Powers of ten for the axis of rates, at most four, the last one above all rates. */
function decades(least, most) {
  const [first, last] = [Math.floor(Math.log10(least)), Math.log10(most)];
  const spacing = Math.max(1, Math.ceil((last - first) / 3));
  return range(1 + Math.max(1, Math.ceil((last - first) / spacing))).map(i =>
    Math.min(1e308, 10 ** (first + i * spacing)),
  );
}

function picture({ steps }, context, { decay, twin, gap }) {
  const high = clamp(Math.ceil(Math.max(...[...decay.loss, ...twin.loss].filter(Number.isFinite)) * 2) / 2, 1, 3);
  const losses = range(high > 2 ? high + 1 : 2 * high + 1).map(i => (high > 2 ? i : i / 2));
  const rates = decades(decay.rate[0], Math.max(...twin.rate.filter(Number.isFinite)));
  const gaps = [-16, -12, -8, -4, 0].map(power => 10 ** power);
  const left = room(context, [...rates, ...gaps].map(brief), 52, "12px");
  const right = context.width - 10;
  const box = (top, height, y, by) => panel({ left, right, top, bottom: top + height, x: [0, steps], y, by });
  const upper = box(11, 100, [0, high]);
  const middle = box(147, 84, [rates[0], rates.at(-1)], Math.log10);
  const lower = box(267, 114, [LOWEST, HIGHEST], Math.log10);
  const same = lower.y(SAME);
  const ends = [decay, twin].map(run => show(run.loss.at(-1)));
  return drawing(
    context,
    { height: 421, label: `losses at the end: ${ends[0]} with weight decay, ${ends[1]} the twin` },
    upper.rows(losses, loss => show(loss, 1)),
    middle.rows(rates, brief),
    lower.rows(gaps, brief),
    lower.columns([0, 1, 2, 3].map(third => Math.round((steps * third) / 3))),
    el("text.fig-tick", { x: (left + right) / 2, y: 417 }, "training step"),
    middle.title("learning rate", 0, 16),
    lower.title("largest difference of an output", 0, 14),
    el("rect.tw-same", { x: left, y: same, width: right - left, height: lower.bottom - same }),
    el("text.fig-tick.fig-end", { x: right - 6, y: same + 15 }, "the same, to rounding"),
    curve("decay", upper, decay.loss, 0, high),
    curve("twin", upper, twin.loss, 0, high),
    curve("decay", middle, decay.rate, rates[0], rates.at(-1)),
    curve("twin", middle, twin.rate, rates[0], rates.at(-1)),
    curve("gap", lower, gap, LOWEST, HIGHEST),
  );
}

function view(state, context) {
  const { change } = context;
  const result = compute(state);
  const toggle = ([trait, [text]]) =>
    button(text, () => change({ [trait]: !state[trait] }), { "aria-pressed": state[trait], class: "tw-toggle" });
  const calm = momentum => ({ momentum, weight_decay: Math.min(state.weight_decay, strongest(state, momentum)) });
  const most = Math.max(state.weight_decay, strongest(state, state.momentum));
  const numbers = ({ rate, length }) => ({
    rate: brief(rate.at(-1)),
    length: ["length of weights", brief(length.at(-1))],
  });
  const sign = kind => el(`path.tw-${kind}`, { d: "M0 7h26" });
  const list = including(EPSILONS, state.eps);
  const momentum = { trait: "momentum", symbol: "μ", name: "momentum", max: 0.9, step: 0.1, text: x => show(x, 1) };
  const decay = { trait: "weight_decay", symbol: "λ", name: "weight decay", max: most, step: DECAY.step };
  return [
    controls(context, { role: "group", "aria-label": "conditions" }, Object.entries(CONDITIONS).map(toggle)),
    legend([null, "loss"], [sign("decay"), "with weight decay"], [sign("twin"), "twin"]),
    picture(state, context, result),
    words(sentence(result), remark(state, result)),
    sliders(
      pick(context, { trait: "eps", symbol: "ε", name: "in the variance", values: list, text: brief }),
      slider(context, momentum, value => change(calm(value))),
      slider(context, { ...decay, text: x => show(x, 4) }),
    ),
    readouts(["with weight decay, at the end", numbers(result.decay)], ["twin, at the end", numbers(result.twin)]),
  ];
}

export default figure({ view });
