// What all interactive figures share. Python puts this file in front of each figure's own, as one module.
//
// 1 numbers as words, 2 elements, 3 controls, 4 words under a drawing, 5 a figure's life.

// ------------------------------------------------------------------------------------------- 1 numbers as words

const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
/** A number with `digits` decimals and a real minus sign; never "−0.00". */
const show = (x, digits = 2) => {
  const text = x.toFixed(digits);
  return (Number(text) === 0 ? (0).toFixed(digits) : text).replace("-", "−");
};
/** The same with a plus sign in front of what is above zero. */
const signed = (x, digits = 2) => (Number(x.toFixed(digits)) > 0 ? "+" : "") + show(x, digits);
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

// ---------------------------------------------------------------------------------------------------- 2 elements

/** An element, with attributes, at the end of `parent`; inside an svg, an svg element. */
function add(parent, name, attributes = {}, text) {
  const svg = name === "svg" || parent instanceof SVGElement;
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  set(element, attributes);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

/** A colour for `value` between −limit (blue) and limit (red), paper at 0: for `element.style.fill`. */
function heat(value, limit) {
  const share = Math.round(100 * clamp(Math.abs(value) / limit, 0, 1));
  return `color-mix(in srgb, var(--${value < 0 ? "low" : "high"}) ${share}%, var(--middle))`;
}

// ---------------------------------------------------------------------------------------------------- 3 controls

// Without this attribute JupyterLab would take a control's arrow keys and letters for commands of its own.
const control = (parent, name, attributes, text) =>
  add(parent, name, { "data-lm-suppress-shortcuts": "true", ...attributes }, text);

function button(parent, attributes, text, act) {
  const made = control(parent, "button", { type: "button", class: "ex-button", ...attributes }, text);
  made.addEventListener("click", act);
  return made;
}

/** Buttons of which one is pressed: `options` maps values to texts. Returns a function that presses a value's button. */
function choice(parent, label, options, act) {
  const row = add(parent, "div", { class: "ex-choice", role: "group", "aria-label": label });
  const buttons = Object.entries(options).map(([value, text]) => {
    const made = control(row, "button", { type: "button", "data-value": value }, text);
    made.addEventListener("click", () => act(value));
    return made;
  });
  return value => buttons.forEach(made => set(made, { "aria-pressed": made.dataset.value === String(value) }));
}

/**
 * A labelled slider. `symbol` stands in italics before `name`; `text` writes a value, `spoken` says it (default: text).
 * Returns a function that moves it: the value, and another `max` where that changes.
 */
function slider(parent, { trait, symbol = "", name, min, max, step = 1, text = show, spoken = text }, act) {
  const label = add(parent, "label");
  const title = add(label, "span");
  if (symbol) add(title, "span", { class: "ex-math" }, symbol);
  add(title, "span", {}, symbol ? ` ${name}` : name);
  const output = add(label, "output");
  const input = control(label, "input", { type: "range", min, max, step, "aria-label": name, "data-trait": trait });
  input.addEventListener("input", () => act(Number(input.value)));
  return (value, high = max) => {
    set(input, { max: high, "aria-valuetext": spoken(value) });
    if (Number(input.value) !== value) input.value = value;
    output.textContent = text(value);
    input.style.setProperty("--share", high > min ? (clamp(value, min, high) - min) / (high - min) : 1);
  };
}

// ------------------------------------------------------------------------------------- 4 words under a drawing

/** One sentence that says what just happened, a remark below it, and both for a screen reader once a drag pauses. */
function words(parent) {
  const spoken = add(parent, "p", { class: "ex-sentence" });
  const note = add(parent, "p", { class: "ex-remark" });
  const live = add(parent, "div", { class: "ex-unseen", "aria-live": "polite" });
  let wait = 0;
  return (sentence, remark = "") => {
    spoken.textContent = sentence;
    note.textContent = remark;
    clearTimeout(wait);
    wait = setTimeout(() => { live.textContent = `${sentence} ${remark}`; }, 400);
  };
}

/** A titled line of named numbers in `parent`: `names` maps keys to texts. Returns its elements; keys give outputs. */
function readout(parent, title, names) {
  const cell = add(parent, "div");
  const head = add(cell, "div", { class: "ex-head" }, title);
  const line = add(cell, "div");
  const outputs = Object.entries(names).map(([key, text]) => {
    const pair = add(line, "span", { class: "ex-pair" });
    add(pair, "span", { class: text.length === 1 ? "ex-math" : "" }, `${text} `);
    return [key, add(pair, "output", { "data-name": key, "aria-live": "off" })];
  });
  return { cell, head, ...Object.fromEntries(outputs) };
}

// ---------------------------------------------------------------------------------------------- 5 a figure's life

/**
 * What a figure's module exports by default.
 *
 * `name` is its class in the style sheet; `traits` are the names of the Python class's traits that it reads;
 * `build(figure)` makes the elements and returns `update(state, { width, last, glide })`, called at every change.
 * `figure` has: `root`; `state()`, all traits; `reset()`; and `change(traits, { move, glide })`, which writes to the
 * model. `last` is the `move` of the latest change: null after a reset, or when Python moved something.
 */
function explorable(name, traits, build) {
  const read = model => Object.fromEntries(traits.map(trait => [trait, model.get(trait)]));

  function render(model, el, start) {
    set(el, { role: "group", "aria-label": model.get("alt") });
    const root = add(el, "div", { class: `explorable ${name}` });
    let last = null;
    let mine = false; // whether this view is changing the model
    const show = glide => update(read(model), { width: root.clientWidth || 720, last, glide });
    const change = (values, { move = null, glide = true } = {}) => {
      mine = true;
      for (const [trait, value] of Object.entries(values)) model.set(trait, value);
      model.save_changes();
      mine = false;
      last = move;
      show(glide);
    };
    const update = build({ root, change, state: () => read(model), reset: () => change(start) });
    const follow = () => {
      if (mine) return;
      last = null; // Python, or another view of this figure
      show(true);
    };
    model.on("change", follow);
    const watch = new ResizeObserver(() => { if (root.clientWidth) show(false); });
    show(false);
    watch.observe(root);
    set(root, { "data-drawn": "true" });
    return () => {
      model.off("change", follow);
      watch.disconnect();
    };
  }

  return () => {
    let start; // what "reset" goes back to
    return {
      initialize({ model }) {
        start = read(model);
      },
      render({ model, el }) {
        return render(model, el, start);
      },
    };
  };
}

