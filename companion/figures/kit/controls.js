// Controls, and the words and numbers under a drawing. `context` is what life.js hands to a view.

// Without this attribute JupyterLab would take a control's arrow keys and letters for commands of its own.
const GUARD = { "data-lm-suppress-shortcuts": "true" };

const button = (text, onclick, attributes = {}) =>
  el("button.fig-button", { type: "button", ...GUARD, onclick, ...attributes }, text);

/** The row above a drawing; every figure's ends in "reset". */
const controls = ({ reset }, attributes, ...children) =>
  el("div.fig-bar", attributes, ...children, button("reset", reset, { key: "reset" }));

/** What a control does that is told nothing else: it sets its trait. */
function setter({ change }, trait) {
  return value => change({ [trait]: value });
}

/** Buttons of which one is pressed; `options` are pairs of a value and its text. */
function choice(context, { trait, label, options, value = context.state[trait] }, act = setter(context, trait)) {
  const made = options.map(([option, text]) => {
    const pressed = { "data-value": option, "aria-pressed": option === value, onclick: () => act(option) };
    return el("button", { type: "button", key: option, ...GUARD, ...pressed }, text);
  });
  return el("div.fig-choice", { role: "group", "aria-label": label }, made);
}

/** A labelled slider. `symbol` stands in italics before `name`; `text` writes a value, `spoken` says it. */
function slider(context, settings, act = setter(context, settings.trait)) {
  const { trait, symbol, name, min = 0, max, step = 1, text = show, spoken = text } = settings;
  const { value = context.state[trait] } = settings;
  const share = max > min ? (clamp(value, min, max) - min) / (max - min) : 1;
  const numbers = { min, max, step, value, "aria-label": name, "aria-valuetext": spoken(value), "data-trait": trait };
  return el(
    "label",
    { key: trait },
    el("span", {}, symbol && el("span.fig-math", {}, symbol), symbol ? ` ${name}` : name),
    el("output", {}, text(value)),
    el("input", {
      ...{ type: "range", ...GUARD, ...numbers, style: { "--share": share } },
      oninput: event => act(Number(event.target.value)),
    }),
  );
}

/** A slider whose places are `values`, a list. */
function pick(context, { values, text = String, value, ...settings }, act = setter(context, settings.trait)) {
  const place = values.indexOf(value ?? context.state[settings.trait]);
  const places = { max: values.length - 1, value: place, text: i => text(values[i]) };
  return slider(context, { ...settings, ...places }, i => act(values[i]));
}

const sliders = (...children) => el("div.fig-sliders", {}, ...children);

/**
 * Numbers under a drawing, as `[title, { name: text }]`, or `[title, { name: [label, text] }]` where the label is
 * another. A single letter is set in italics.
 */
function readouts(...groups) {
  const pair = ([name, given]) => {
    const [label, text] = Array.isArray(given) ? given : [name, given];
    const output = el("output", { "data-name": name, "aria-live": "off" }, text);
    return el("span.fig-pair", {}, el("span", { class: label.length === 1 ? "fig-math" : null }, `${label} `), output);
  };
  return el(
    "div.fig-numbers",
    {},
    groups.map(([title, texts, name]) =>
      el("div", { class: name }, el("div.fig-head", {}, title), el("div", {}, Object.entries(texts).map(pair))),
    ),
  );
}

/** One sentence that says what just happened, a remark below it, and both for a screen reader once a drag pauses. */
function words(sentence, remark = "") {
  const drawn = live => {
    clearTimeout(live.wait);
    live.wait = setTimeout(() => {
      live.textContent = `${sentence} ${remark}`;
    }, 400);
  };
  const unseen = el("div.fig-unseen", { "aria-live": "polite", drawn });
  return [el("p.fig-sentence", {}, sentence), el("p.fig-remark", {}, remark), unseen];
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
/** Where keys take a number, as sliders do: a table for `keys`. */
const steps = (value, { small, large, low, high }) => ({
  ...{ ArrowRight: value + small, ArrowUp: value + small, ArrowLeft: value - small, ArrowDown: value - small },
  ...{ PageUp: value + large, PageDown: value - large, Home: low, End: high },
});

/** Attributes of what is moved by keys: `table` says what each stands for; `act` gets that, and whether Shift is held. */
const keys = (table, act) => ({
  ...GUARD,
  onkeydown(event) {
    if (!(event.key in table) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    act(table[event.key], event.shiftKey);
  },
});

/**
 * Attributes of what is dragged by a pointer or a finger: `move` gets the pixels `[x, y]` to which `at` is taken.
 * What `grab` returns at the start is handed on to every `move`, and is `context.held` until the end.
 */
function drag(context, at, move, grab = () => ({})) {
  const pixels = event => {
    const box = event.currentTarget.ownerSVGElement.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const end = () => context.hold(null);
  return {
    onpointerdown(event) {
      if (event.button !== 0) return;
      event.preventDefault();
      event.currentTarget.setPointerCapture(event.pointerId);
      event.currentTarget.focus({ preventScroll: true });
      const from = pixels(event);
      context.hold({ ...grab(), grip: at.map((place, axis) => place - from[axis]) });
    },
    onpointermove(event) {
      if (!context.held || !event.currentTarget.hasPointerCapture(event.pointerId)) return;
      const to = pixels(event);
      move(
        context.held.grip.map((place, axis) => place + to[axis]),
        context.held,
      );
    },
    onpointerup: end,
    onpointercancel: end,
  };
}

/** A handle of a drawing at pixels `at`: `...drag(…)` and `...keys(…)` belong to its attributes. */
const handle = ({ at, value, low, high, text, ...attributes }, ...face) =>
  el(
    "g.fig-handle",
    {
      ...{ tabindex: 0, role: "slider", transform: `translate(${at[0]} ${at[1]})`, "aria-valuetext": text },
      ...{ "aria-valuenow": value, "aria-valuemin": low, "aria-valuemax": high, ...attributes },
    },
    el("circle.fig-reach", { r: 18 }), // unseen: a finger is wider than a mark
    ...face,
  );
