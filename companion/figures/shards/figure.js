// One unit's values on several machines: whose mean and standard deviation normalize them?
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure that ties them together.
// `machine` and `example` count from 0; `state` holds the traits of the Python class Shards.

const TRAITS = ["values", "machines", "norm", "drifts", "eps"];
const LIMIT = 5; // the upper axis runs from -LIMIT to LIMIT
const REACH = 3; // the lower one from -REACH to REACH

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** First and last-but-one example of each machine: sizes differ by one at most, and the larger come first. */
export function deal(count, machines) {
  const least = Math.floor(count / machines);
  const more = count % machines;
  return Array.from({ length: machines }, (_, k) => {
    const from = k * least + Math.min(k, more);
    return [from, from + least + (k < more ? 1 : 0)];
  });
}

function moments(values) {
  const m = values.reduce((sum, h) => sum + h, 0) / values.length;
  return { m, s2: values.reduce((sum, h) => sum + (h - m) ** 2, 0) / values.length };
}

/** All the numbers of the figure: inputs, statistics, outputs, and those of one machine that holds the batch. */
export function compute(state) {
  const shards = deal(state.values.length, state.machines);
  const machine = state.values.map((_, example) => shards.findIndex(([, end]) => example < end));
  const inputs = state.values.map((h, example) => h + state.drifts[machine[example]]);
  const whole = moments(inputs);
  const own = shards.map(([from, end]) => moments(inputs.slice(from, end)));
  const out = (h, { m, s2 }) => (h - m) / Math.sqrt(s2 + state.eps);
  const outputs = inputs.map((h, example) => out(h, state.norm === "sync" ? whole : own[machine[example]]));
  const wanted = inputs.map(h => out(h, whole));
  const shares = state.norm === "sync" && state.machines > 1;
  return {
    machine, inputs, whole, own, outputs, wanted,
    off: Math.max(...outputs.map((y, example) => Math.abs(y - wanted[example]))),
    sent: { forward: shares ? 3 : 0, back: shares ? 2 : 0 }, // 2C + 1 and 2C, for one channel
  };
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
  return `From each machine ${sent.forward} numbers travel forward (sum, count, squares) and ${sent.back} back, ` +
    "however many examples it holds.";
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const MARGIN = 24;
const LANE = 44;
const TITLE = 20;
const TICKS = 20;

/** Put the svg into `parent`, for so many machines and examples; returns handles and a function that draws. */
function scene(parent, machines, count) {
  const svg = add(parent, "svg", {});
  const back = add(svg, "g", { "aria-hidden": "true" });
  const lanes = [...Array(machines).keys()];
  const panels = [
    { name: "in", title: "in: ", right: "h, a row for each machine", limit: LIMIT, top: TITLE },
    { name: "out", title: "out: ", right: "(h − m) / √(s² + ε)", limit: REACH, top: 2 * TITLE + machines * LANE + TICKS + 12 },
  ];
  const height = panels[1].top + machines * LANE + TICKS;
  for (const panel of panels) {
    const title = add(back, "text", { class: "sh-title", x: 2, y: panel.top - 7 }, panel.title);
    add(title, "tspan", { class: panel.name === "out" ? "ex-math" : "" }, panel.right);
    panel.bands = lanes.map(() => add(back, "rect", { class: "sh-band" }));
    panel.lines = lanes.map(k => add(back, "path", { class: "sh-lane", "data-lane": k }));
    panel.means = lanes.map(() => add(back, "path", { class: "sh-mean" }));
    panel.ticks = Array.from({ length: 2 * panel.limit + 1 }, (_, i) => i - panel.limit).map(value => ({
      value,
      text: add(back, "text", { class: "sh-number", y: panel.top + machines * LANE + 15 }, show(value, 0)),
    }));
  }
  const marks = add(svg, "g", { "aria-hidden": "true" });
  const dots = Array.from({ length: count }, () => ({
    miss: add(marks, "path", { class: "sh-miss" }),
    wanted: add(marks, "circle", { class: "sh-wanted", r: 6.5 }),
    input: add(marks, "circle", { class: "sh-input", r: 4.5 }),
    output: add(marks, "circle", { class: "sh-output", r: 3.8 }),
  }));
  const handles = lanes.map(k => {
    const handle = add(svg, "g", {
      class: "sh-handle",
      tabindex: 0,
      role: "slider",
      "aria-orientation": "horizontal",
      "aria-label": `drift of machine ${k + 1}`,
      "aria-valuemin": -LIMIT,
      "aria-valuemax": LIMIT,
      "data-lm-suppress-shortcuts": "true", // or JupyterLab takes the arrow keys
    });
    add(handle, "circle", { class: "sh-reach", r: 18 }); // unseen: a finger is wider than a mark
    add(handle, "path", { class: "sh-face", d: "M-6 -8h12l7 8l-7 8h-12l-7 -8Z" });
    add(handle, "text", { y: 4.5 }, String(k + 1));
    return handle;
  });

  function draw(state, result, width) {
    set(svg, { width, height, viewBox: `0 0 ${width} ${height}` });
    const sync = state.norm === "sync";
    const used = k => (sync ? result.whole : result.own[k]);
    const scale = ({ limit }) => x => MARGIN + ((clamp(x, -limit, limit) + limit) / (2 * limit)) * (width - 2 * MARGIN);
    for (const panel of panels) {
      const x = scale(panel);
      for (const k of lanes) {
        const y = panel.top + (k + 0.5) * LANE;
        const { m, s2 } = used(k);
        const [mean, spread] = panel.name === "in" ? [m, Math.sqrt(s2)] : [0, 1];
        // one band over all rows where all share, a band in each row where each is for itself
        const gap = sync ? 0 : 5;
        set(panel.bands[k], {
          x: x(mean - spread), width: x(mean + spread) - x(mean - spread), y: y - LANE / 2 + gap, height: LANE - 2 * gap,
        });
        set(panel.means[k], { d: `M${x(mean)} ${y - LANE / 2 + gap}v${LANE - 2 * gap}` });
        set(panel.lines[k], { d: `M${MARGIN - 12} ${y}H${width - MARGIN + 12}` });
      }
      for (const { value, text } of panel.ticks) {
        set(text, { x: x(value), visibility: width < 400 && value % 2 !== 0 && panel.limit > 3 ? "hidden" : "visible" });
      }
    }
    const [xIn, xOut] = panels.map(scale);
    dots.forEach(({ miss, wanted, input, output }, example) => {
      const [y0, y1] = panels.map(({ top }) => top + (result.machine[example] + 0.5) * LANE);
      const jitter = ((example % 3) - 1) * 7; // neighbours would cover each other
      const [at, right] = [xOut(result.outputs[example]), xOut(result.wanted[example])];
      const off = Math.abs(result.outputs[example] - result.wanted[example]) >= 0.005;
      set(input, { cx: xIn(result.inputs[example]), cy: y0 + jitter });
      set(wanted, { cx: right, cy: y1 + jitter });
      set(miss, { d: `M${right} ${y1 + jitter}H${at}` });
      set(output, { cx: at, cy: y1 + jitter, "data-off": off, "data-value": result.outputs[example] });
    });
    handles.forEach((handle, k) => {
      const y = panels[0].top + (k + 0.5) * LANE;
      set(handle, {
        transform: `translate(${xIn(result.own[k].m)} ${y})`,
        "aria-valuenow": state.drifts[k],
        "aria-valuetext": `drift ${signed(state.drifts[k], 1)}, mean ${show(result.own[k].m)}`,
      });
    });
  }
  return { svg, handles, draw, machines, count };
}

// -------------------------------------------------------------------------------------------------- 4 the figure

function build({ root, change, state, reset }) {
  const bar = add(root, "div", { class: "ex-bar" });
  const pressMachines = choice(bar, "machines", { 1: "1", 2: "2", 3: "3", 4: "4 machines" }, value =>
    change({ machines: Number(value) }));
  const pressNorm = choice(bar, "norm", { local: "each for itself", sync: "synchronised" }, norm => change({ norm }));
  button(bar, {}, "reset", reset);
  const stage = add(root, "div");
  const key = add(root, "p", { class: "sh-key", "aria-hidden": "true" });
  for (const [name, text] of [["handle", "drag: a machine"], ["wanted", "wanted: one machine with all"], ["output", "output"]]) {
    const entry = add(key, "span", {});
    const sign = add(entry, "svg", { width: 22, height: 16, viewBox: "-11 -8 22 16" });
    if (name === "handle") add(sign, "path", { class: "sh-face", d: "M-6 -5h12l4 5l-4 5h-12l-4 -5Z" });
    else add(sign, "circle", { class: `sh-${name}`, r: name === "wanted" ? 6.5 : 3.8 });
    entry.append(` ${text}`);
  }
  const say = words(root);
  const numbers = add(root, "div", { class: "ex-numbers" });
  const cells = {
    used: readout(numbers, "mean and standard deviation in use", { m: "m", s: "s" }),
    sent: readout(numbers, "numbers that each machine sends", { forward: "forward", back: "back" }),
  };
  let picture = null;

  function update(now, { width, last }) {
    const result = compute(now);
    if (picture?.machines !== now.machines || picture?.count !== now.values.length) {
      picture?.svg.remove();
      picture = scene(stage, now.machines, now.values.length);
      picture.handles.forEach(listen);
    }
    pressMachines(now.machines);
    pressNorm(now.norm);
    picture.draw(now, result, width);
    const used = now.norm === "sync" || now.machines === 1 ? [result.whole] : result.own;
    cells.used.m.textContent = used.map(({ m }) => show(m)).join(", ");
    cells.used.s.textContent = used.map(({ s2 }) => show(Math.sqrt(s2))).join(", ");
    cells.sent.forward.textContent = result.sent.forward;
    cells.sent.back.textContent = result.sent.back;
    say(sentence(now, result, last), remark(now, result));
  }

  function listen(handle, k) {
    const moveTo = drift => {
      const drifts = [...state().drifts];
      drifts[k] = Math.round(clamp(drift, -LIMIT, LIMIT) * 10) / 10;
      change({ drifts }, { move: k });
    };
    handle.addEventListener("keydown", event => {
      const drift = state().drifts[k];
      const target = {
        ArrowRight: drift + 0.1, ArrowUp: drift + 0.1, ArrowLeft: drift - 0.1, ArrowDown: drift - 0.1,
        PageUp: drift + 1, PageDown: drift - 1, Home: -LIMIT, End: LIMIT,
      }[event.key];
      if (target === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      moveTo(target);
    });
    let drag = null; // where the pointer went down, and the drift there
    handle.addEventListener("pointerdown", event => {
      if (event.button !== 0) return;
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      handle.focus({ preventScroll: true });
      drag = { x: event.clientX, drift: state().drifts[k] };
    });
    handle.addEventListener("pointermove", event => {
      if (!drag) return;
      const box = picture.svg.getBoundingClientRect();
      moveTo(drag.drift + ((event.clientX - drag.x) / (box.width - 2 * MARGIN)) * 2 * LIMIT);
    });
    for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => { drag = null; });
  }

  return update;
}

export default explorable("shards", TRAITS, build);
