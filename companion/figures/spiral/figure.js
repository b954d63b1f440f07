// Two weights of a scale-invariant loss: where does gradient descent take their angle, and their length?
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure that ties them together.
// `state` holds the traits of the Python class Spiral; `step` counts from 0.

const TRAITS = ["start", "rate", "decay", "mode", "steps"];
const TOP = 1.5; // the loss lies between −TOP and TOP
const DEGREES = 180 / Math.PI;

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** The loss at an angle in radians, and how it rises with the angle. */
export const loss = angle => Math.cos(2 * angle) + 0.5 * Math.sin(3 * angle);
const slope = angle => -2 * Math.sin(2 * angle) + 1.5 * Math.cos(3 * angle);

/** All places that the weights visit, `[x, y]`, and the rate of each step. */
export function walk({ start, rate, decay, mode, steps }) {
  let [x, y] = start;
  const places = [[x, y]];
  const rates = [];
  const keep = mode === "constant" ? 1 : 1 - decay * rate;
  for (let step = 0; step < steps; step++) {
    const now = mode === "growing" ? rate * keep ** (-2 * step - 1) : rate;
    const length = Math.hypot(x, y);
    const angle = Math.atan2(y, x);
    const push = (now * slope(angle)) / length;
    const shrink = mode === "decay" ? keep : 1;
    [x, y] = [shrink * x + push * Math.sin(angle), shrink * y - push * Math.cos(angle)];
    places.push([x, y]);
    rates.push(now / shrink); // decay and step at once turn the weights as a step of this rate would alone
  }
  return { places, rates };
}

/** What the charts show: angle in degrees and length after each step, and the effective rate of each step. */
export function chart(state) {
  const { places, rates } = walk(state);
  const lengths = places.map(([x, y]) => Math.hypot(x, y));
  return {
    places,
    angles: places.map(([x, y]) => Math.atan2(y, x) * DEGREES),
    lengths,
    effective: rates.map((rate, step) => rate / lengths[step] ** 2),
  };
}

/** The largest difference in angle, in degrees, that any step shows between weight decay and the growing rate. */
export function parted(state) {
  const [one, two] = ["decay", "growing"].map(mode => chart({ ...state, mode }).angles);
  const apart = one.map((angle, step) => Math.abs(angle - two[step])).map(gap => Math.min(gap, 360 - gap));
  return Math.max(...apart);
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** Three digits, without an exponent for what people read easily. */
const brief = x => {
  if (x === 0) return "0";
  if (x >= 1e5 || x < 1e-3) {
    const [digits, power] = x.toExponential(1).split("e");
    return `${digits} × 10${[...String(Number(power))].map(c => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("")}`;
  }
  return x >= 100 ? String(Math.round(x)) : Number(x.toPrecision(3)).toString();
};

/** The same with all three digits. */
const three = x => (x >= 1e-3 && x < 100 ? x.toPrecision(3) : brief(x));

function sentence({ steps, mode }, { lengths, effective }) {
  const how = { constant: "", decay: " with weight decay", growing: " with a growing rate" }[mode];
  return `${plural(steps, "step")}${how}: length ${three(lengths[0])} → ${three(lengths.at(-1))}, ` +
    `effective rate ${three(effective[0])} → ${three(effective.at(-1))}.`;
}

function remark(state) {
  const { mode, decay } = state;
  if (mode === "constant") return "Every step leaves at a right angle to the weights, so their length can only grow.";
  if (decay === 0) return "λ = 0: nothing differs from a constant rate.";
  if (mode === "decay") return "Decay shortens the weights and steps lengthen them: the effective rate can't fade.";
  const gap = parted(state);
  return gap < 1e-6
    ? "No decay, longer weights, yet the same angles as with weight decay, step for step (but for rounding)."
    : `Same angles as with weight decay, until rounding has grown: now up to ${brief(gap)}° apart.`;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const SECTORS = 180;
const CHART = { left: 46, right: 8, head: 20, foot: 14, height: 112 };

/** The least of 1, 1.5, 2, 3, 5, 7 times a power of ten that holds `x`: a plane's scale that jumps seldom. */
function frame(x) {
  const power = 10 ** Math.floor(Math.log10(x));
  return [1, 1.5, 2, 3, 5, 7, 10].map(k => k * power).find(size => size >= x * (1 - 1e-12));
}

/** The plane: a ray's colour is its loss, and the walk with its start lies on top. */
function plane(svg) {
  const clip = `spiral-${Math.random().toString(36).slice(2)}`;
  const box = add(add(svg, "clipPath", { id: clip }), "rect", { rx: 6 });
  const inside = add(svg, "g", { "clip-path": `url(#${clip})`, "aria-hidden": "true" });
  const wheel = add(inside, "g", { class: "sp-loss" });
  const sectors = Array.from({ length: SECTORS }, (_, k) => {
    const sector = add(wheel, "path");
    sector.style.fill = heat(loss(((k + 0.5) / SECTORS) * 2 * Math.PI), TOP);
    return sector;
  });
  const rings = [1, 2].map(() => add(inside, "circle", { class: "sp-ring" }));
  const path = add(inside, "path", { class: "sp-path" });
  const dots = add(inside, "path", { class: "sp-dots" });
  const ray = add(inside, "path", { class: "sp-ray" });
  const end = add(inside, "circle", { class: "sp-end", r: 6.5 });
  const labels = rings.map(() => add(svg, "text", { class: "sp-label" }));
  const origin = add(svg, "circle", { class: "sp-origin", r: 2.5 });
  const handle = add(svg, "g", {
    class: "sp-start", tabindex: 0, role: "button", "data-lm-suppress-shortcuts": "true",
  });
  add(handle, "circle", { class: "sp-reach", r: 18 });
  add(handle, "circle", { class: "sp-halo", r: 11 });
  add(handle, "circle", { class: "sp-face", r: 8 });
  const word = add(svg, "text", { class: "sp-word" }, "start");

  function draw({ places }, size, reach) {
    const half = size / 2;
    const unit = half / reach;
    const at = ([x, y]) => [half + clamp(x * unit, -4 * half, 4 * half), half - clamp(y * unit, -4 * half, 4 * half)];
    set(box, { width: size, height: size });
    sectors.forEach((sector, k) => {
      const corner = turn => {
        const angle = (turn / SECTORS) * 2 * Math.PI;
        return `${half + 2 * half * Math.cos(angle)} ${half - 2 * half * Math.sin(angle)}`;
      };
      set(sector, { d: `M${half} ${half}L${corner(k - 0.1)}L${corner(k + 1.1)}Z` }); // a little wide, or seams show
    });
    rings.forEach((ring, k) => {
      const radius = ((k + 1) / 3) * reach * 1.2;
      const nice = Number(radius.toPrecision(1));
      set(ring, { cx: half, cy: half, r: nice * unit });
      set(labels[k], { x: half, y: half + nice * unit - 4 });
      labels[k].textContent = brief(nice);
    });
    const corners = places.map(at);
    set(path, { d: `M${corners.map(([x, y]) => `${x} ${y}`).join("L")}` });
    set(dots, { d: corners.slice(1).map(([x, y]) => `M${x} ${y}h0`).join("") });
    const [endX, endY] = corners.at(-1);
    set(ray, { d: `M${half} ${half}L${endX} ${endY}` });
    set(end, { cx: endX, cy: endY });
    set(origin, { cx: half, cy: half });
    const [x, y] = corners[0];
    set(handle, { transform: `translate(${x} ${y})` });
    set(word, { x: clamp(x, 22, size - 22), y: y < 34 ? y + 26 : y - 15 });
  }
  return { handle, draw };
}

/** A small chart over steps: a title, two numbers at the side, a line or dots. */
function strip(svg, title, { symbol, log = false, degrees = false }) {
  const head = add(svg, "text", { class: "sp-title" }, `${title} `);
  if (symbol) add(head, "tspan", { class: "ex-math" }, symbol);
  const back = add(svg, "g", { class: "sp-loss", "aria-hidden": "true" });
  const stripes = Array.from({ length: degrees ? 72 : 0 }, (_, k) => {
    const stripe = add(back, "rect");
    stripe.style.fill = heat(loss((177.5 - 5 * k) / DEGREES), TOP);
    return stripe;
  });
  const ground = add(svg, "rect", { class: "sp-ground" });
  const line = add(svg, "path", { class: degrees ? "sp-dots sp-angles" : "sp-line" });
  const numbers = [0, 1].map(() => add(svg, "text", { class: "sp-number" }));
  const scale = log ? Math.log10 : x => x;

  function draw(values, steps, { left, top, width, height }) {
    const [x0, x1] = [left + CHART.left, left + width - CHART.right];
    const [y0, y1] = [top + CHART.head, top + height - CHART.foot];
    let [low, high] = degrees ? [-180, 180] : [Math.min(...values), Math.max(...values)];
    if (!degrees && high < low * 1.5) [low, high] = [low / 1.3, high * 1.3];
    const x = step => x0 + (step / Math.max(steps, 1)) * (x1 - x0);
    const y = value => y1 - ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (y1 - y0);
    set(head, { x: x0, y: top + 12 });
    set(ground, { x: x0, y: y0, width: x1 - x0, height: y1 - y0 });
    stripes.forEach((stripe, k) => {
      const tall = (y1 - y0) / 72;
      set(stripe, { x: x0, y: y0 + k * tall, width: x1 - x0, height: tall + 0.5 });
    });
    const points = values.map((value, step) => [x(step), y(value)]);
    set(line, {
      d: degrees
        ? points.map(([a, b]) => `M${a} ${b}h0`).join("")
        : `M${points.map(([a, b]) => `${a} ${b}`).join("L")}`,
      "data-values": values.length,
    });
    [high, low].forEach((value, k) => {
      set(numbers[k], { x: x0 - 5, y: k ? y1 : y0 + 9 });
      numbers[k].textContent = degrees ? `${show(value, 0)}°` : three(value);
    });
  }
  return draw;
}

// -------------------------------------------------------------------------------------------------- 4 the figure

function build({ root, change, state, reset }) {
  // --- controls above the drawing
  const bar = add(root, "div", { class: "ex-bar" });
  const modes = { constant: "constant rate", decay: "weight decay", growing: "growing rate" };
  const press = choice(bar, "how to step", modes, mode => change({ mode }));
  button(bar, {}, "reset", reset);

  // --- drawing, sentence, sliders, numbers
  const svg = add(root, "svg");
  const picture = plane(svg);
  const strips = [
    ["angles", strip(svg, "angle", { symbol: "θ", degrees: true })],
    ["lengths", strip(svg, "length", { symbol: "‖w‖", log: true })],
    ["effective", strip(svg, "effective rate", { symbol: "η / ‖w‖²", log: true })],
  ];
  const axis = add(svg, "text", { class: "sp-label sp-axis" });
  const say = words(root);
  const sliders = add(root, "div", { class: "ex-sliders" });
  const rounded = x => Number(x.toPrecision(2));
  const turns = {
    rate: slider(sliders,
      { trait: "rate", symbol: "η", name: "learning rate", min: -2, max: 0.3, step: 0.05, text: x => brief(rounded(10 ** x)) },
      x => change({ rate: rounded(10 ** x) })),
    decay: slider(sliders,
      { trait: "decay", symbol: "λ", name: "weight decay", min: 0, max: 0.4, step: 0.01, text: x => show(x, 2) },
      decay => change({ decay, ...(state().mode === "constant" ? { mode: "decay" } : {}) })),
    steps: slider(sliders, { trait: "steps", name: "steps", min: 1, max: 200, text: String }, steps => change({ steps })),
  };
  const numbers = add(root, "div", { class: "ex-numbers" });
  const cells = [["at the start", 0], ["at the end", -1]].map(([title, place]) =>
    [place, readout(numbers, title, { angle: "θ", length: "‖w‖", rate: "rate/‖w‖²", loss: "loss" })]);

  let held = null; // the plane's scale while the start is dragged
  let reach = 1;
  let size = 1;

  // --- from the model to the screen
  function update(now, { width }) {
    const result = chart(now);
    reach = held ?? frame(Math.max(...result.lengths) * 1.06);
    const beside = width >= 560;
    size = Math.min(beside ? width * 0.52 : width, 390);
    picture.draw(result, size, reach);
    const place = beside
      ? { left: size + 6, top: 0, width: width - size - 6, height: (size - 4) / 3 }
      : { left: 0, top: size + 14, width, height: CHART.height };
    for (const [name, draw] of strips) {
      draw(result[name], now.steps, place);
      place.top += place.height;
    }
    set(axis, { x: place.left + place.width - CHART.right, y: place.top });
    axis.textContent = `step ${now.steps}`;
    set(svg, { width, height: place.top + 6 });
    press(now.mode);
    turns.rate(Math.log10(now.rate));
    turns.decay(now.decay);
    turns.steps(now.steps);
    set(root, { "data-mode": now.mode });
    set(picture.handle, {
      "aria-label": `start: ${show(now.start[0])}, ${show(now.start[1])}; arrow keys move it`,
    });
    for (const [place, cell] of cells) {
      const angle = result.angles.at(place);
      cell.angle.textContent = `${show(angle, 0)}°`;
      cell.length.textContent = three(result.lengths.at(place));
      cell.rate.textContent = three(result.effective.at(place));
      cell.loss.textContent = show(loss(angle / DEGREES));
    }
    say(sentence(now, result), remark(now));
  }

  // --- from the reader to the model
  function moveTo([x, y]) {
    const near = place => Math.round(clamp(place, -100, 100) * 100) / 100;
    const start = [near(x), near(y)];
    if (Math.hypot(...start) >= 0.05) change({ start }, { glide: false }); // at the origin there is no direction
  }

  const { handle } = picture;
  handle.addEventListener("keydown", event => {
    const small = event.shiftKey ? 0.01 : 0.05;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!way || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    moveTo(state().start.map((place, axis) => place + small * way[axis]));
  });
  const at = event => {
    const box = svg.getBoundingClientRect();
    const half = size / 2;
    return [((event.clientX - box.left - half) / half) * reach, ((half - event.clientY + box.top) / half) * reach];
  };
  let grip = null; // how far from the start's middle it was taken
  handle.addEventListener("pointerdown", event => {
    if (event.button !== 0) return;
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    held = reach;
    grip = at(event).map((place, axis) => state().start[axis] - place);
  });
  handle.addEventListener("pointermove", event => {
    if (grip) moveTo(at(event).map((place, axis) => clamp(place + grip[axis], -reach, reach)));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    handle.addEventListener(end, () => {
      if (!grip) return;
      [grip, held] = [null, null];
      change({ start: state().start }, { glide: false });
    });
  }

  return update;
}

export default explorable("spiral", TRAITS, build);
