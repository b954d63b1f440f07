// Two weights of a scale-invariant loss: where does gradient descent take their angle, and their length?
//
// 1 the arithmetic, 2 the words, 3 the drawing. `step` counts from 0.

const TOP = 1.5; // the loss lies between −TOP and TOP
const DEGREES = 180 / Math.PI;

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** The loss at an angle in radians, and how it rises with the angle. */
export const loss = angle => Math.cos(2 * angle) + 0.5 * Math.sin(3 * angle);
const slope = angle => -2 * Math.sin(2 * angle) + 1.5 * Math.cos(3 * angle);

/** All places that the weights visit, `[x, y]`, and the rate of each step. */
export function walk({ start, rate, decay, mode, steps }) {
  let [x, y] = start;
  const [places, rates] = [[start], []];
  const keep = mode === "constant" ? 1 : 1 - decay * rate;
  const shrink = mode === "decay" ? keep : 1;
  for (let step = 0; step < steps; step++) {
    const now = mode === "growing" ? rate * keep ** (-2 * step - 1) : rate;
    const angle = Math.atan2(y, x);
    const push = (now * slope(angle)) / Math.hypot(x, y);
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
  const angles = places.map(([x, y]) => Math.atan2(y, x) * DEGREES);
  return { places, angles, lengths, effective: rates.map((rate, step) => rate / lengths[step] ** 2) };
}

/** The largest difference in angle, in degrees, that any step shows between weight decay and the growing rate. */
export function parted(state) {
  const [one, two] = ["decay", "growing"].map(mode => chart({ ...state, mode }).angles);
  const apart = one.map((angle, step) => Math.abs(angle - two[step])).map(gap => Math.min(gap, 360 - gap));
  return Math.max(...apart);
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** Three digits, without an exponent for what people read easily. */
function brief(x) {
  if (x === 0) return "0";
  if (x >= 1e-3 && x < 1e5) return String(x >= 100 ? Math.round(x) : Number(x.toPrecision(3)));
  const [digits, power] = x.toExponential(1).split("e");
  return `${digits} × 10${raised(Number(power))}`;
}

/** The same with all three digits. */
const three = x => (x >= 1e-3 && x < 100 ? x.toPrecision(3) : brief(x));

function sentence({ steps, mode }, { lengths, effective }) {
  const how = { constant: "", decay: " with weight decay", growing: " with a growing rate" }[mode];
  const [length, rate] = [lengths, effective].map(values => `${three(values[0])} → ${three(values.at(-1))}`);
  return `${plural(steps, "step")}${how}: length ${length}, effective rate ${rate}.`;
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

const coloured = degrees => ({ fill: heat(loss(degrees / DEGREES), TOP) });

/** The loss around a circle of radius 1, in sectors that are a little wide, or seams would show. */
const WHEEL = range(180).map(k => {
  const corner = degrees => `${Math.cos(degrees / DEGREES)} ${-Math.sin(degrees / DEGREES)}`;
  return el("path", { d: `M0 0L${corner(2 * k - 0.2)}L${corner(2 * k + 2.2)}Z`, style: coloured(2 * k + 1) });
});
/** The same from 180° down to −180°, in stripes of height 1, likewise. */
const STRIPES = range(72).map(k => el("rect", { y: k, width: 1, height: 1.4, style: coloured(177.5 - 5 * k) }));

const CHARTS = { angles: ["angle", "θ"], lengths: ["length", "‖w‖"], effective: ["effective rate", "η / ‖w‖²"] };

/** The least of 1, 1.5, 2, 3, 5, 7 times a power of ten that holds `x`: a plane's scale that jumps seldom. */
function frame(x) {
  const power = 10 ** Math.floor(Math.log10(x));
  return [1, 1.5, 2, 3, 5, 7, 10].map(k => k * power).find(size => size >= x * (1 - 1e-12));
}

const dots = points => points.map(([x, y]) => `M${x} ${y}h0`).join("");

/** The plane, `size` pixels wide: a ray's colour is its loss, and the walk lies on top. */
function plane(places, size, reach) {
  const half = size / 2;
  const pixels = place => clamp((place / reach) * half, -2 * size, 2 * size);
  const points = places.map(([x, y]) => [half + pixels(x), half - pixels(y)]);
  const rings = [0.4, 0.8].map(share => Number((share * reach).toPrecision(1)));
  const [x, y] = points.at(-1);
  const middle = { cx: half, cy: half };
  const inside = [
    el("g.sp-loss", { transform: `translate(${half} ${half}) scale(${size})` }, WHEEL),
    rings.map(ring => el("circle.sp-ring", { ...middle, r: pixels(ring) })),
    el("path.sp-path", { d: line(points) }),
    el("path.sp-dots", { d: dots(points.slice(1)) }),
    el("path.fig-line", { d: `M${half} ${half}L${x} ${y}` }),
    el("circle.fig-you", { cx: x, cy: y, r: 6.5 }),
  ];
  return [
    el("svg.sp-plane", { width: size, height: size, "aria-hidden": "true" }, el("g", {}, inside)),
    rings.map(ring => el("text.sp-label", { x: half, y: half + pixels(ring) - 4 }, brief(ring))),
    el("circle.sp-origin", { ...middle, r: 2.5 }),
  ];
}

/** The start, to be dragged and moved by keys. */
function mark(context, size, reach) {
  const { start } = context.state;
  const [x, y] = [scale([-reach, reach], [0, size]), scale([-reach, reach], [size, 0])];
  const [right, up] = [scale([0, size], [-reach, reach]), scale([size, 0], [-reach, reach])];
  const at = [x(start[0]), y(start[1])];
  const move = place => {
    const moved = place.map(value => Math.round(clamp(value, -100, 100) * 100) / 100);
    if (Math.hypot(...moved) >= 0.05) context.change({ start: moved }, { glide: false }); // at 0 there is no direction
  };
  const step = (way, fine) => move(start.map((value, axis) => value + (fine ? 0.01 : 0.05) * way[axis]));
  const dragged = ([px, py]) => move([right(px), up(py)].map(value => clamp(value, -reach, reach)));
  const moves = { ...keys(ARROWS, step), ...drag(context, at, dragged, () => ({ reach })) };
  const label = `start: ${show(start[0])}, ${show(start[1])}; arrow keys move it`;
  const face = [el("circle.fig-ring", { r: 11 }), el("circle.sp-face", { r: 8 })];
  return [
    handle({ at, role: "button", class: "sp-start", "aria-label": label, ...moves }, face),
    el("text.sp-word", { x: clamp(at[0], 22, size - 22), y: at[1] < 34 ? at[1] + 26 : at[1] - 15 }, "start"),
  ];
}

/** The least and the greatest number on a chart's axis, each with its text. */
function ends(name, values) {
  if (name === "angles") return [-180, 180].map(degrees => [degrees, `${show(degrees, 0)}°`]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const wide = high < low * 1.5 ? [low / 1.3, high * 1.3] : [low, high];
  return wide.map(value => [value, three(value)]);
}

/** A chart over the steps; angles lie on the colours of their losses. */
function strip(name, values, steps, { left, right, top, bottom }) {
  const [[title, symbol], [low, high]] = [CHARTS[name], ends(name, values)];
  const [width, height, angles] = [right - left, bottom - top, name === "angles"];
  const by = angles ? undefined : Math.log10;
  const box = panel({ left, right, top, bottom, x: [0, steps], y: [low[0], high[0]], by });
  const points = values.map((value, step) => [box.x(step), box.y(value)]);
  const transform = `translate(${left} ${top}) scale(${width} ${height / STRIPES.length})`;
  return [
    box.title([`${title} `, el("tspan.fig-math", {}, symbol)], left, 6),
    angles && el("g.sp-loss", { transform, "aria-hidden": true }, STRIPES),
    el("rect.sp-ground", { x: left, y: top, width, height }),
    angles ? el("path.sp-dots.sp-angles", { d: dots(points) }) : el("path.fig-line", { d: line(points) }),
    el("text.fig-tick.fig-end", { x: left - 5, y: top + 9 }, high[1]),
    el("text.fig-tick.fig-end", { x: left - 5, y: bottom }, low[1]),
  ];
}

function picture(context, result) {
  const { width, state, held } = context;
  const reach = held?.reach ?? frame(1.06 * Math.max(...result.lengths)); // stays as it is while the start is dragged
  const beside = width >= 560;
  const size = Math.min(beside ? 0.52 * width : width, 390);
  const [from, first, each] = beside ? [size + 6, 0, (size - 4) / 3] : [0, size + 14, 112];
  const names = Object.keys(CHARTS);
  const texts = names.flatMap(name => ends(name, result[name]).map(([, text]) => text));
  const [left, right, foot] = [from + room(context, texts, 46), width - 8, first + 3 * each];
  const charts = names.map((name, i) => {
    const [top, bottom] = [first + i * each + 20, first + (i + 1) * each - 14];
    return strip(name, result[name], state.steps, { left, right, top, bottom });
  });
  return drawing(
    context,
    { height: foot + 6 },
    plane(result.places, size, reach),
    mark(context, size, reach),
    charts,
    el("text.fig-tick.fig-end", { x: right, y: foot }, `step ${state.steps}`),
  );
}

const MODES = { constant: "constant rate", decay: "weight decay", growing: "growing rate" };

function view(state, context) {
  const { change } = context;
  const result = chart(state);
  const rounded = power => Number((10 ** power).toPrecision(2));
  const rate = { trait: "rate", symbol: "η", name: "learning rate", min: -2, max: 0.3, step: 0.05 };
  const decay = { trait: "decay", symbol: "λ", name: "weight decay", max: 0.4, step: 0.01 };
  const power = { value: Math.log10(state.rate), text: x => brief(rounded(x)) };
  const on = state.mode === "constant" ? { mode: "decay" } : {};
  const numbers = place => ({
    angle: ["θ", `${show(result.angles.at(place), 0)}°`],
    length: ["‖w‖", three(result.lengths.at(place))],
    rate: ["rate/‖w‖²", three(result.effective.at(place))],
    loss: show(loss(result.angles.at(place) / DEGREES)),
  });
  return [
    controls(context, {}, choice(context, { trait: "mode", label: "how to step", options: Object.entries(MODES) })),
    picture(context, result),
    words(sentence(state, result), remark(state)),
    el(
      "div.fig-sliders",
      { "data-mode": state.mode },
      slider(context, { ...rate, ...power }, x => change({ rate: rounded(x) })),
      slider(context, decay, value => change({ decay: value, ...on })),
      slider(context, { trait: "steps", name: "steps", min: 1, max: 200, text: String }),
    ),
    readouts(["at the start", numbers(0)], ["at the end", numbers(-1)]),
  ];
}

export default figure({ view });
