// One channel of a small batch: drag a batch mate and watch your own output.
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure that ties them together.
// `example` counts from 0, and example 0 is "you"; `state` holds the traits of the Python class BatchMates.

const TRAITS = ["values", "gamma", "delta", "eps", "momentum", "mode", "running_mean", "running_var", "steps"];
const LIMIT = 5; // both axes run from -LIMIT to LIMIT, so that a curve that falls straight down means out = h

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** All the numbers of the figure: batch norm in train or eval mode, and what one training step would leave. */
export function normalize(state) {
  const { values, gamma, delta, eps, momentum, mode, running_mean, running_var, steps } = state;
  const n = values.length;
  const mean = values.reduce((sum, h) => sum + h, 0) / n;
  const squares = values.reduce((sum, h) => sum + (h - mean) ** 2, 0);
  const batch = { mean, variance: squares / n };
  const running = { mean: running_mean, variance: running_var };
  const [used, unused] = mode === "train" ? [batch, running] : [running, batch];
  const out = h => (gamma * (h - used.mean)) / Math.sqrt(used.variance + eps) + delta;
  return {
    used: { m: used.mean, s: Math.sqrt(used.variance) },
    unused: { m: unused.mean, s: Math.sqrt(unused.variance) },
    out,
    outputs: values.map(out),
    after: {
      running_mean: (1 - momentum) * running_mean + momentum * mean,
      running_var: (1 - momentum) * running_var + (momentum * squares) / (n - 1), // unbiased, unlike s²
      steps: steps + 1,
    },
  };
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** What just happened, as a sentence. `last`: which example moved, from which h, and where its and your output were. */
export function sentence(state, result, last) {
  const train = state.mode === "train";
  if (last?.step) {
    const share = show(state.momentum);
    return `Training step ${state.steps}: the running statistics went ${share} of the way to this batch’s.`;
  }
  if (last) {
    const moved = signed(state.values[last.example] - last.from);
    const change = result.outputs[0] - last.out;
    const output = signed(change);
    if (last.example === 0) {
      return train
        ? `You moved by ${moved}: your output moved by ${output}, and every mate’s output moved too.`
        : `You moved by ${moved}: your output moved by ${output}; no mate’s output did.`;
    }
    if (train && Math.abs(change) < 0.005) return `A mate moved by ${moved}; your output moved by less than 0.01.`;
    return train
      ? `Your output moved by ${output} because a mate moved by ${moved}.`
      : `A mate moved by ${moved}; your output did not.`;
  }
  return train
    ? "Drag a mate sideways: your input stays where it is, your output does not."
    : "Drag a mate sideways: your output stays where it is.";
}

/** What a reader should know of the statistics in use. */
export function remark(state, result) {
  const { mode, steps, running_mean, running_var } = state;
  if (result.used.s < 1e-9) return "s = 0: only ε keeps the division finite.";
  if (mode === "train") return "m and s are this batch’s own: every example has a say in them.";
  if (steps > 0) return `m and s are the running statistics after ${plural(steps, "training step")}.`;
  return running_mean === 0 && running_var === 1
    ? "No training step yet: the running statistics still hold their starting values, 0 and 1."
    : "No training step yet: the running statistics hold the values that they were given.";
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const ROWS = { title: 15, label: 40, you: 66, top: 98, bottom: 262, youOut: 300, marks: 321, titleOut: 346, height: 354 };
const MARGIN = 26;
const BAND = 22; // height of the bands: above the upper axis, below the lower one

const onAxis = x => clamp(x, -LIMIT, LIMIT);
const beyond = x => (x > LIMIT) - (x < -LIMIT);

/** A dot; at the end of the axis, an arrowhead for a value that lies beyond. */
function mark(radius, way) {
  if (!way) return `M${-radius} 0a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`;
  return `M${-way * radius * 0.7} ${-radius}L${way * radius * 1.1} 0L${-way * radius * 0.7} ${radius}Z`;
}

const fall = (x0, x1) => {
  const middle = (ROWS.top + ROWS.bottom) / 2;
  return `M${x0} ${ROWS.top}C${x0} ${middle} ${x1} ${middle} ${x1} ${ROWS.bottom}`;
};
const ribbon = (left0, right0, left1, right1) => {
  const middle = (ROWS.top + ROWS.bottom) / 2;
  return `${fall(left0, left1)}L${right1} ${ROWS.bottom}C${right1} ${middle} ${right0} ${middle} ${right0} ${ROWS.top}Z`;
};

/** What is drawn, as plain numbers, so that two of them can be mixed on the way from one to the other. */
function geometry(state, result, last) {
  const { used, unused, out, outputs } = result;
  return {
    inputs: state.values,
    outputs,
    used,
    unused,
    ends: [out(used.m - used.s), out(used.m + used.s)],
    delta: state.delta,
    gamma: state.gamma,
    before: last && !last.step ? last.out : outputs[0],
  };
}

function mix(a, b, t) {
  if (typeof a === "number") return a + (b - a) * t;
  if (Array.isArray(a)) return a.map((x, i) => mix(x, b[i], t));
  return Object.fromEntries(Object.keys(a).map(key => [key, mix(a[key], b[key], t)]));
}

/** Put the svg into `parent`; returns its dots, and a function that draws a geometry at a width. */
function scene(parent, count) {
  const svg = add(parent, "svg", { height: ROWS.height });
  const layer = name => add(svg, "g", { class: `bm-${name}`, "aria-hidden": "true" });

  const back = layer("back");
  const flow = add(back, "path", { class: "bm-flow" });
  const inBand = add(back, "rect", { class: "bm-band", y: ROWS.top - BAND, height: BAND });
  const outBand = add(back, "rect", { class: "bm-band", y: ROWS.bottom, height: BAND });
  const ghostBand = add(back, "rect", { class: "bm-ghost", y: ROWS.top - BAND, height: BAND });
  const ghostTick = add(back, "path", { class: "bm-ghost" });
  const axes = [ROWS.top, ROWS.bottom].map(y => ({
    y,
    line: add(back, "path", { class: "bm-axis" }),
    numbers: [-4, -3, -2, -1, 0, 1, 2, 3, 4].map(value => {
      const tick = add(back, "path", { class: "bm-axis" });
      const text = add(back, "text", { class: "bm-number", y: y === ROWS.top ? y - 9 : y + 16 }, show(value).slice(0, -3));
      return { value, tick, text };
    }),
  }));
  const center = add(back, "path", { class: "bm-center" });
  const tick = add(back, "path", { class: "bm-tick" });
  const tickOut = add(back, "path", { class: "bm-tick" });

  const words = layer("words");
  const formula = (y, name, right) => {
    const text = add(words, "text", { class: "bm-title", x: 2, y }, `${name}: `);
    add(text, "tspan", { class: "ex-math" }, right);
  };
  formula(ROWS.title, "in", "h");
  formula(ROWS.titleOut, "out", "γ (h − m) / √(s² + ε) + δ");
  const label = (name, y) => add(words, "text", { class: name, y });
  const labels = {
    m: label("bm-stat ex-math", ROWS.label),
    low: label("bm-stat ex-math bm-minor", ROWS.label),
    high: label("bm-stat ex-math bm-minor", ROWS.label),
    ghost: label("bm-ghost-label", ROWS.title),
    center: label("bm-stat ex-math", ROWS.marks),
    left: label("bm-stat ex-math bm-minor", ROWS.marks),
    right: label("bm-stat ex-math bm-minor", ROWS.marks),
    you: label("bm-you-label", ROWS.you),
    youOut: label("bm-you-label", ROWS.youOut),
    mate: label("bm-mate-label", ROWS.you),
  };
  labels.you.textContent = "you";
  labels.low.textContent = "m − s";
  labels.high.textContent = "m + s";

  // Mates first, you last: what is drawn last lies on top. Curves lie below all dots.
  const order = [...Array(count).keys()].reverse();
  const curves = layer("curves");
  const trail = add(curves, "path", { class: "bm-trail" });
  const before = add(curves, "path", { class: "bm-before", d: mark(7.5, 0) });
  const images = layer("images");
  const front = add(svg, "g");
  const dots = [];
  let lead = []; // the mate that moved last, again, above the other mates: moving its element would lose the pointer
  for (const example of order) {
    if (example === 0) lead = [images, front].map(parent => add(parent, "path", { class: "bm-lead" }));
    const kind = example === 0 ? "bm-you" : "bm-mate";
    const curve = add(curves, "path", { class: `bm-curve ${kind}` });
    const image = add(images, "path", { class: `bm-image ${kind}` });
    const handle = add(front, "g", {
      class: `bm-dot ${kind}`,
      tabindex: 0,
      role: "slider",
      "aria-orientation": "horizontal",
      "aria-label": example === 0 ? "you, your example" : `mate ${example}`,
      "aria-valuemin": -LIMIT,
      "aria-valuemax": LIMIT,
      "data-lm-suppress-shortcuts": "true", // or JupyterLab takes the arrow keys
    });
    add(handle, "circle", { class: "bm-reach", r: 17 }); // unseen: a finger is wider than a dot
    add(handle, "circle", { class: "bm-ring", r: example === 0 ? 13 : 11 });
    dots[example] = { curve, image, handle, face: add(handle, "path", { class: "bm-face" }) };
  }

  function draw(shape, width, mode, last) {
    const unit = (width - 2 * MARGIN) / (2 * LIMIT);
    const x = value => MARGIN + (onAxis(value) + LIMIT) * unit;
    set(svg, { width, viewBox: `0 0 ${width} ${ROWS.height}` });
    const { used, unused, ends, delta, gamma, inputs, outputs } = shape;

    // axes, bands, and the ribbon from one band to the other: this is batch norm, the dots only ride on it
    for (const { y, line, numbers } of axes) {
      set(line, { d: `M${MARGIN - 14} ${y}H${width - MARGIN + 14}` });
      for (const { value, tick: small, text } of numbers) {
        set(small, { d: `M${x(value)} ${y - 3}v6` });
        const crossed = (y === ROWS.top ? [used.m, unused.m] : [delta]).some(other => Math.abs(x(other) - x(value)) < 8);
        const crowded = value % 2 !== 0 && unit < 48;
        set(text, { x: x(value), visibility: crossed || crowded ? "hidden" : "visible" });
      }
    }
    const span = (a, b) => ({ x: Math.min(x(a), x(b)), width: Math.abs(x(b) - x(a)) });
    set(inBand, span(used.m - used.s, used.m + used.s));
    set(outBand, span(delta - gamma, delta + gamma));
    set(ghostBand, span(unused.m - unused.s, unused.m + unused.s));
    set(tick, { d: `M${x(used.m)} ${ROWS.top - BAND - 4}v${BAND + 14}` });
    set(tickOut, { d: `M${x(delta)} ${ROWS.bottom + BAND + 4}v${-BAND - 14}` });
    set(center, { d: fall(x(used.m), x(delta)) });
    set(ghostTick, { d: `M${x(unused.m)} ${ROWS.top - BAND}v${BAND + 7}` });
    set(flow, { d: ribbon(x(used.m - used.s), x(used.m + used.s), x(ends[0]), x(ends[1])) });

    // labels, left out where they would run into each other or off the drawing
    const place = (text, value, room = true) => {
      set(text, { x: x(value), visibility: room && !beyond(value) ? "visible" : "hidden" });
    };
    labels.m.textContent = `m = ${show(used.m)}`;
    labels.center.textContent = `δ = ${show(delta)}`;
    place(labels.m, onAxis(used.m));
    place(labels.low, used.m - used.s, used.s * unit > 62);
    place(labels.high, used.m + used.s, used.s * unit > 62);
    place(labels.center, onAxis(delta));
    place(labels.left, delta - Math.abs(gamma), Math.abs(gamma) * unit > 62);
    place(labels.right, delta + Math.abs(gamma), Math.abs(gamma) * unit > 62);
    labels.left.textContent = gamma < 0 ? "δ + γ" : "δ − γ";
    labels.right.textContent = gamma < 0 ? "δ − γ" : "δ + γ";
    labels.ghost.textContent = mode === "train" ? "running mean, unused" : "batch mean, unused";
    set(labels.ghost, { x: clamp(x(unused.m), 110, width - 66) });

    // the examples
    dots.forEach(({ curve, image, handle, face }, example) => {
      const [x0, x1] = [x(inputs[example]), x(outputs[example])];
      const radius = example === 0 ? 8.5 : 6.5;
      set(curve, { d: fall(x0, x1) });
      set(image, { d: mark(radius - 1.5, beyond(outputs[example])), transform: `translate(${x1} ${ROWS.bottom})` });
      set(handle, { transform: `translate(${x0} ${ROWS.top})` });
      set(face, { d: mark(radius, beyond(inputs[example])) });
      const active = last?.example === example ? "true" : "false";
      for (const part of [curve, image, handle]) set(part, { "data-active": active });
    });

    // you: where your output was, and how far it has come
    const moved = outputs[0] - shape.before;
    place(labels.you, onAxis(inputs[0]));
    place(labels.youOut, onAxis(outputs[0]));
    labels.youOut.textContent = last && !last.step ? `you ${signed(moved)}` : "you";
    set(labels.youOut, { x: clamp(x(outputs[0]), 40, width - 40) });
    set(before, { transform: `translate(${x(shape.before)} ${ROWS.bottom})` });
    set(trail, { d: `M${x(shape.before)} ${ROWS.bottom}H${x(outputs[0])}` });
    const far = Math.abs(x(outputs[0]) - x(shape.before)) > 1 ? "visible" : "hidden";
    for (const part of [before, trail]) set(part, { visibility: far });
    const mate = last?.example > 0 ? inputs[last.example] : null;
    if (mate !== null) {
      labels.mate.textContent = `mate ${last.example}`;
      const { image, handle, face } = dots[last.example];
      [[image, image], [face, handle]].forEach(([glyph, spot], i) => {
        set(lead[i], { d: glyph.getAttribute("d"), transform: spot.getAttribute("transform") });
      });
    }
    for (const glyph of lead) set(glyph, { visibility: mate === null ? "hidden" : "visible" });
    place(labels.mate, mate ?? 0, mate !== null && Math.abs(x(mate) - x(inputs[0])) > 48);
  }
  return { svg, dots, draw };
}

// -------------------------------------------------------------------------------------------------- 4 the figure

function build({ root, change, state, reset }) {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let shown = null; // the geometry on screen, perhaps on its way to another
  let frame = 0;
  let last = null; // the last move: { example, from, out } or { step: true }

  // --- controls above the drawing
  const bar = add(root, "div", { class: "ex-bar" });
  const press = choice(bar, "mode", { train: "train", eval: "eval" }, mode => change({ mode }));
  const trainer = add(bar, "div", { class: "bm-trainer" });
  button(trainer, {}, "take a training step", () => change(normalize(state()).after, { move: { step: true } }));
  const count = add(trainer, "span", { class: "bm-count" });
  button(bar, { class: "ex-button bm-reset" }, "reset", reset);

  // --- drawing, sentence, sliders, numbers
  const stage = add(root, "div");
  let picture = null;
  const say = words(root);
  const sliders = add(root, "div", { class: "ex-sliders" });
  const knob = settings => {
    const move = slider(sliders, settings, value => change({ [settings.trait]: value }, { glide: false }));
    return now => move(now[settings.trait]);
  };
  const knobs = [
    knob({ trait: "gamma", symbol: "γ", name: "scale", min: -3, max: 3, step: 0.05 }),
    knob({ trait: "delta", symbol: "δ", name: "offset", min: -3, max: 3, step: 0.05 }),
    knob({ trait: "momentum", name: "momentum", min: 0.01, max: 1, step: 0.01 }),
  ];
  const numbers = add(root, "div", { class: "ex-numbers" });
  const cells = {
    used: readout(numbers, "", { m: "m", s: "s" }),
    running: readout(numbers, "running statistics", { mean: "mean", variance: "variance" }),
    you: readout(numbers, "you", { h: "h", out: "out" }),
  };
  cells.you.cell.classList.add("bm-yours");

  // --- from the model to the screen
  function aim(target, width, mode, glide) {
    cancelAnimationFrame(frame);
    const paint = shape => picture.draw((shown = shape), width, mode, last);
    if (!glide || still.matches || shown?.inputs.length !== target.inputs.length) return paint(target);
    const [from, began] = [shown, performance.now()];
    const tick = now => {
      const t = Math.max(0, Math.min(1, (now - began) / 350));
      paint(t < 1 ? mix(from, target, 1 - (1 - t) ** 3) : target);
      if (t < 1 && root.isConnected) frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
  }

  function update(now, { width, last: move, glide }) {
    last = move;
    const result = normalize(now);
    if (picture?.dots.length !== now.values.length) {
      picture?.svg.remove();
      picture = scene(stage, now.values.length);
      picture.dots.forEach(({ handle }, example) => listen(handle, example));
    }
    press(now.mode);
    set(root, { "data-mode": now.mode });
    count.textContent = plural(now.steps, "step");
    for (const turn of knobs) turn(now);
    picture.dots.forEach(({ handle }, example) => {
      const [h, out] = [now.values[example], result.outputs[example]];
      set(handle, { "aria-valuenow": h, "aria-valuetext": `h ${show(h)}, output ${show(out)}` });
    });
    cells.used.head.textContent = now.mode === "train" ? "used: this batch" : "used: running statistics";
    cells.used.m.textContent = show(result.used.m);
    cells.used.s.textContent = show(result.used.s);
    cells.running.mean.textContent = show(now.running_mean);
    cells.running.variance.textContent = show(now.running_var);
    cells.you.h.textContent = show(now.values[0]);
    cells.you.out.textContent = show(result.outputs[0]);
    say(sentence(now, result, last), remark(now, result));
    aim(geometry(now, result, last), width, now.mode, glide);
  }

  // --- from the reader to the model
  function listen(handle, example) {
    const value = () => state().values[example];
    const begin = () => ({ example, from: value(), out: normalize(state()).outputs[0] });
    const moveTo = (h, move) => {
      const values = [...state().values];
      values[example] = Math.round(onAxis(h) * 100) / 100;
      change({ values }, { move, glide: false });
    };

    handle.addEventListener("keydown", event => {
      const small = event.shiftKey ? 0.01 : 0.1;
      const target = {
        ArrowRight: value() + small,
        ArrowUp: value() + small,
        ArrowLeft: value() - small,
        ArrowDown: value() - small,
        PageUp: value() + 1,
        PageDown: value() - 1,
        Home: -LIMIT,
        End: LIMIT,
      }[event.key];
      if (target === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      moveTo(target, last?.example === example ? last : begin()); // a run of keys counts as one move
    });

    let drag = null; // { move, grip }: grip is how far from the dot's middle it was taken
    const at = event => {
      const box = picture.svg.getBoundingClientRect();
      return ((event.clientX - box.left - MARGIN) / (box.width - 2 * MARGIN)) * 2 * LIMIT - LIMIT;
    };
    handle.addEventListener("pointerdown", event => {
      if (event.button !== 0) return;
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      handle.focus({ preventScroll: true });
      drag = { move: begin(), grip: onAxis(value()) - at(event) };
    });
    handle.addEventListener("pointermove", event => {
      if (drag) moveTo(at(event) + drag.grip, drag.move);
    });
    for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => { drag = null; });
  }

  return update;
}

export default explorable("batch-mates", TRAITS, build);
