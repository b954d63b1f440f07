// A small network trained twice: with weight decay, and without it, with a rate that grows. Do the two stay the same?
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure. `state` holds the traits of the Python class Twins.

const TRAITS = [
  "points", "units", "learning_rate", "momentum", "weight_decay", "eps", "steps",
  "normalized", "pushed", "last_fixed", "affine_fixed",
];
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

const sum = (count, term) => {
  let total = 0;
  for (let i = 0; i < count; i++) total += term(i);
  return total;
};

/** Outputs (N × classes), loss, and the loss's gradients for all parameters `p`. */
function evaluate({ points, eps, normalized }, p) {
  const [N, H] = [points.length, p.gamma.length];
  const outputs = points.map(() => new Float64Array(CLASSES));
  const units = [];
  for (let j = 0; j < H; j++) {
    const h = points.map(([x, y]) => x * p.first[2 * j] + y * p.first[2 * j + 1]);
    const m = normalized ? sum(N, i => h[i]) / N : 0;
    const r = normalized ? Math.sqrt(sum(N, i => (h[i] - m) ** 2) / N + eps) : 1;
    const hat = h.map(value => (value - m) / r);
    const z = hat.map(value => Math.max(0, p.gamma[j] * value + p.delta[j]));
    units.push({ r, hat, z });
    for (let i = 0; i < N; i++) for (let k = 0; k < CLASSES; k++) outputs[i][k] += z[i] * p.last[CLASSES * j + k];
  }
  let loss = 0;
  const g = outputs.map((row, i) => { // the loss's gradient for the outputs
    const top = Math.max(...row);
    const shares = Array.from(row, value => Math.exp(value - top));
    const total = sum(CLASSES, k => shares[k]);
    loss += (Math.log(total) + top - row[points[i][2]]) / N;
    return shares.map((share, k) => (share / total - (k === points[i][2] ? 1 : 0)) / N);
  });
  const d = Object.fromEntries(Object.entries(p).map(([name, values]) => [name, new Float64Array(values.length)]));
  units.forEach(({ r, hat, z }, j) => {
    for (let k = 0; k < CLASSES; k++) d.last[CLASSES * j + k] = sum(N, i => z[i] * g[i][k]);
    const back = z.map((value, i) => (value > 0 ? sum(CLASSES, k => g[i][k] * p.last[CLASSES * j + k]) : 0));
    d.gamma[j] = sum(N, i => back[i] * hat[i]);
    d.delta[j] = sum(N, i => back[i]);
    const [mean, along] = normalized ? [d.delta[j] / N, d.gamma[j] / N] : [0, 0];
    const inner = back.map((value, i) => (p.gamma[j] / r) * (value - mean - hat[i] * along)); // for h: chapter 1
    d.first[2 * j] = sum(N, i => inner[i] * points[i][0]);
    d.first[2 * j + 1] = sum(N, i => inner[i] * points[i][1]);
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
  const gap = decay.outputs.map((rows, t) => {
    let most = 0;
    rows.forEach((row, i) => row.forEach((value, k) => {
      const difference = Math.abs(value - twin.outputs[t][i][k]);
      if (!(difference <= most)) most = difference;
    }));
    return most;
  });
  const plain = ({ loss, length, rate }) => ({ loss, length, rate });
  return { decay: plain(decay), twin: plain(twin), gap, growth: root(state) ** (-2 * (state.steps - 1)) };
}

// --------------------------------------------------------------------------------------------------- 2 the words

const raised = power => [...String(power)].map(sign => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] ?? "⁻").join("");
/** A number with two significant digits, as 0.34, 120 or 3.2 × 10⁷. */
function brief(x) {
  if (!Number.isFinite(x)) return "∞";
  if (x === 0) return "0";
  const power = Math.floor(Math.log10(Number(Math.abs(x).toPrecision(2))));
  if (power >= -2 && power < 4) return String(Number(x.toFixed(Math.max(0, 1 - power))));
  const factor = (x / 10 ** power).toFixed(1);
  return `${factor === "1.0" ? "" : `${factor} × `}10${raised(power)}`;
}

const worst = gap => gap.reduce((most, value) => (value <= most ? most : value), 0);
const broken = state => [
  ...(state.normalized && state.eps > 0 ? ["ε is not 0"] : []),
  ...Object.keys(CONDITIONS).filter(name => !state[name]).map(name => CONDITIONS[name][1]),
];

export function sentence(state, { gap, growth }) {
  const most = worst(gap);
  const lost = gap.findIndex(value => !Number.isFinite(value));
  if (lost >= 0) return `The runs part: at step ${lost}, an output is no number any more.`;
  if (most > SAME) return `The runs part: an output differs by ${brief(most)}.`;
  const digits = most === 0 ? "last" : `${Math.floor(-Math.log10(most))}th`;
  return growth < 1.005 ? `Without weight decay the rate stays as it is, and so the runs are the same.`
    : `The rate grows ${brief(growth)}-fold, and all outputs stay the same to the ${digits} decimal.`;
}

export function remark(state, { gap }) {
  const [reasons, apart] = [broken(state), !(worst(gap) <= SAME)];
  if (reasons.length === 0) return apart ? "All conditions hold: this is rounding that grew." : "All conditions hold.";
  const list = reasons.join("; ");
  return `${list[0] === "ε" ? list : list[0].toUpperCase() + list.slice(1)}.${apart ? "" : " Here that makes no difference."}`;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const LEFT = 52;
const RIGHT = 10;
const [TOP, MIDDLE, LOW] = [{ y: 30, height: 100 }, { y: 166, height: 84 }, { y: 286, height: 114 }];
const HEIGHT = 440;
const DECADES = [-17, 2];

function scene(stage) {
  const svg = add(stage, "svg", { height: HEIGHT, role: "img" });
  const grid = add(svg, "g", { class: "tw-grid" });
  const same = add(svg, "rect", { class: "tw-same" });
  const texts = add(svg, "g");
  const lines = Object.fromEntries(["decay", "twin", "rate", "grown", "gap"].map(name =>
    [name, add(svg, "path", { class: `tw-${{ rate: "decay", grown: "twin" }[name] ?? name}` })]));
  const keys = add(svg, "g");

  /** A path through finite values; it ends where they do. */
  function path(values, x, y) {
    const end = values.findIndex(value => !Number.isFinite(value));
    const shown = end < 0 ? values : values.slice(0, end);
    return shown.length ? `M${shown.map((value, t) => `${x(t).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}` : "";
  }

  return (state, { decay, twin, gap }, width) => {
    set(svg, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    const right = width - RIGHT;
    const x = t => LEFT + (t / state.steps) * (right - LEFT);
    const losses = [...decay.loss, ...twin.loss].filter(Number.isFinite);
    const high = Math.min(3, Math.max(1, Math.ceil(Math.max(...losses) * 2) / 2));
    const upper = loss => TOP.y + TOP.height * (1 - clamp(loss, 0, high) / high);
    const scale = ({ y, height }, from, to) => value => {
      const power = clamp(Math.log10(Math.max(value, 1e-300)), from, to);
      return y + (height * (to - power)) / (to - from);
    };
    const grown = Math.log10(Math.max(...twin.rate.filter(Number.isFinite)));
    const least = Math.floor(Math.log10(decay.rate[0]));
    const spacing = Math.max(1, Math.ceil((grown - least) / 3)); // of the numbers on the axis of rates, in decades
    const middle = scale(MIDDLE, least, least + spacing * Math.max(1, Math.ceil((grown - least) / spacing)));
    const lower = scale(LOW, ...DECADES);
    grid.replaceChildren();
    texts.replaceChildren();
    keys.replaceChildren();
    const tick = (value, text, y) => {
      add(grid, "path", { d: `M${LEFT} ${y(value)}H${right}` });
      add(texts, "text", { class: "tw-tick", x: LEFT - 7, y: y(value) + 4 }, text);
    };
    for (let loss = 0; loss <= high; loss += high > 2 ? 1 : 0.5) tick(loss, show(loss, 1), upper);
    for (let power = least; power < grown + spacing; power += spacing) tick(10 ** power, brief(10 ** power), middle);
    for (const power of [-16, -12, -8, -4, 0]) tick(10 ** power, brief(10 ** power), lower);
    for (let i = 0; i <= 3; i++) {
      add(texts, "text", { class: "tw-step", x: x((state.steps * i) / 3), y: LOW.y + LOW.height + 18 }, Math.round((state.steps * i) / 3));
    }
    add(texts, "text", { class: "tw-step", x: (LEFT + right) / 2, y: HEIGHT - 4 }, "training step");
    add(texts, "text", { class: "tw-title", x: 0, y: MIDDLE.y - 16 }, "learning rate");
    add(texts, "text", { class: "tw-title", x: 0, y: LOW.y - 14 }, "largest difference of an output");
    set(same, { x: LEFT, y: lower(SAME), width: right - LEFT, height: LOW.y + LOW.height - lower(SAME) });
    add(texts, "text", { class: "tw-note", x: right - 6, y: lower(SAME) + 15 }, "the same, to rounding");
    let at = 0;
    add(keys, "text", { class: "tw-title", x: at, y: TOP.y - 18 }, "loss");
    at = 44;
    for (const [name, text, space] of [["decay", "with weight decay", 160], ["twin", "twin", 60]]) {
      add(keys, "path", { class: `tw-${name}`, d: `M${at} ${TOP.y - 22}h26` });
      add(keys, "text", { class: "tw-key", x: at + 32, y: TOP.y - 18 }, text);
      at += space;
    }
    set(lines.decay, { d: path(decay.loss, x, upper) });
    set(lines.twin, { d: path(twin.loss, x, upper) });
    set(lines.rate, { d: path(decay.rate, x, middle) });
    set(lines.grown, { d: path(twin.rate, x, middle) });
    set(lines.gap, { d: path(gap, x, lower) });
  };
}

// -------------------------------------------------------------------------------------------------- 4 the figure

const EPSILONS = [0, 1e-8, 1e-6, 1e-4, 1e-2];
const DECAY = { most: 0.01, step: 0.0005 };
/** The largest weight decay on the slider that has a real α. */
function strongest({ learning_rate }, momentum) {
  const product = Math.min((1 - Math.sqrt(momentum)) ** 2, 0.9);
  return Math.min(DECAY.most, DECAY.step * Math.floor(product / learning_rate / DECAY.step + 1e-9));
}

function build({ root, change, state, reset }) {
  const bar = add(root, "div", { class: "ex-bar", role: "group", "aria-label": "conditions" });
  const toggles = Object.entries(CONDITIONS).map(([name, [text]]) => {
    const made = button(bar, { class: "ex-button tw-toggle", "data-trait": name }, text, () => change({ [name]: !state()[name] }));
    return now => set(made, { "aria-pressed": String(now[name]) });
  });
  button(bar, {}, "reset", reset);
  const stage = add(root, "div");
  const draw = scene(stage);
  const say = words(root);
  const sliders = add(root, "div", { class: "ex-sliders" });
  const choices = () => [...new Set([...EPSILONS, state().eps])].sort((a, b) => a - b);
  const turns = {
    eps: slider(sliders, { trait: "eps", symbol: "ε", name: "in the variance", min: 0, max: 4, text: i => brief(choices()[i]) },
      i => change({ eps: choices()[i] })),
    momentum: slider(sliders, { trait: "momentum", symbol: "μ", name: "momentum", min: 0, max: 0.9, step: 0.1, text: value => show(value, 1) },
      momentum => change({ momentum, weight_decay: Math.min(state().weight_decay, strongest(state(), momentum)) })),
    decay: slider(sliders, { trait: "weight_decay", symbol: "λ", name: "weight decay", min: 0, max: DECAY.most, step: DECAY.step, text: value => show(value, 4) },
      weight_decay => change({ weight_decay })),
  };
  const numbers = add(root, "div", { class: "ex-numbers" });
  const cells = {
    decay: readout(numbers, "with weight decay, at the end", { rate: "rate", length: "length of weights" }),
    twin: readout(numbers, "twin, at the end", { rate: "rate", length: "length of weights" }),
  };

  return (now, { width }) => {
    const result = compute(now);
    for (const toggle of toggles) toggle(now);
    turns.eps(choices().indexOf(now.eps), choices().length - 1);
    turns.momentum(now.momentum);
    turns.decay(now.weight_decay, Math.max(now.weight_decay, strongest(now, now.momentum)));
    draw(now, result, width);
    set(root.querySelector("svg"), { "aria-label": `losses at the end: ${show(result.decay.loss.at(-1))} with weight decay, ${show(result.twin.loss.at(-1))} the twin` });
    for (const [name, cell] of Object.entries(cells)) {
      cell.rate.textContent = brief(result[name].rate.at(-1));
      cell.length.textContent = brief(result[name].length.at(-1));
    }
    say(sentence(now, result), remark(now, result));
  };
}

export default explorable("twins", TRAITS, build);
