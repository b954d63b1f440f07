// A weight vector in the plane, split into its length g and the direction of v: what a gradient step does to each.
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure. Points are pairs [x, y], y upwards.

const FAR = 1000; // beyond this no further step is taken

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

const plus = (a, b, share = 1) => [a[0] + share * b[0], a[1] + share * b[1]];
const times = (a, factor) => [factor * a[0], factor * a[1]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
const norm = a => Math.hypot(...a);

/** Everything at one place: w, the gradients for w, g and v, and where one step would lead. */
export function compute({ v, g, target, rate, learns }) {
  const length = norm(v) || 1; // v may glide through 0
  const ahead = times(v, 1 / length);
  const w = times(ahead, g);
  const gradW = plus(w, target, -1);
  const gradG = dot(gradW, ahead);
  const along = times(ahead, gradG);
  const across = plus(gradW, along, -1);
  const gradV = times(across, g / length);
  const next = { v: plus(v, gradV, -rate), g: learns === "both" ? g - rate * gradG : g };
  return {
    ...{ length, ahead, w, gradW, gradG, along, across, gradV, next },
    nextLength: norm(next.v),
    loss: dot(gradW, gradW) / 2,
    turn: (Math.atan2(rate * norm(gradV), length) * 180) / Math.PI, // a step of v stands at right angles to v
    effective: rate * (g / length) ** 2, // a plain step of w across itself, at this rate, turns it as far
  };
}

// --------------------------------------------------------------------------------------------------- 2 the words

const degrees = x => `${x < 0.95 && x > 0 ? show(x, 1) : show(x, 0)}°`;

/** What just happened. `last`: what moved, and the numbers before it. */
function sentence({ path }, { length, turn }, last) {
  if (last?.far) return `‖v‖ or g has passed ${FAR}: reset, and take a smaller rate.`;
  if (last?.step) {
    const grew = length - last.length < 0.005 ? "hardly grew" : `grew from ${show(last.length)} to ${show(length)}`;
    return `Step ${path.length}: v turned by ${degrees(last.turn)} and ${grew}.`;
  }
  const next = "The next step will turn";
  if (last?.moved === "v") return `w stays on its circle, on the ray through v. ${next} both by ${degrees(turn)}.`;
  if (last?.moved === "target") return "Across v, the gradient turns v (blue); along v, it changes g (orange).";
  if (last?.moved === "rate") return `${next} v by ${degrees(turn)}; no step turns it by 90° or more.`;
  return "Take a step: v goes off at right angles to itself.";
}

/** Why. */
function remark({ g, rate, learns }, { gradG, effective }, last) {
  const wild = last?.step && learns === "both" && Math.abs(gradG) > Math.abs(last.gradG) && rate > 2;
  if (wild) return `g went from ${show(last.g)} to ${show(g)}: nothing slows g down.`;
  const slow = show(effective, effective < 0.1 ? 3 : 2);
  return `The direction learns at η g² / ‖v‖² = ${slow}: the longer v is, the slower.`;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const HEIGHT = 380;

/** How far from 0 the drawing reaches: 3, 6, 12 … */
function reach(state) {
  const farthest = Math.max(...[state.v, state.target, compute(state).w, ...state.path].flat().map(Math.abs));
  return 3 * 2 ** Math.max(0, Math.ceil(Math.log2(farthest / 2.8)));
}

/** Everything of a drawing that is `width` wide; `size` is how many pixels 1 has, `at` and `from` lead there and back. */
function scene(state, width) {
  const size = Math.min(width, HEIGHT) / 2 / state.limit;
  const at = ([x, y]) => [width / 2 + size * x, HEIGHT / 2 - size * y];
  const from = ([x, y]) => [(x - width / 2) / size, (HEIGHT / 2 - y) / size];
  return { ...state, ...compute(state), width, size, at, from };
}

const path = (name, ...points) => el(`path.wz-${name}`, { d: line(points) });

/** A line from a to b in pixels with an arrowhead at b; nothing where it would be shorter than its head. */
function arrow(name, a, b) {
  const way = plus(b, a, -1);
  const length = norm(way);
  if (length < 2) return null;
  const head = times(way, Math.min(9, length) / length);
  const [neck, side] = [plus(b, head, -1), times([-head[1], head[0]], 0.42)];
  const d = `${line([a, neck])}${line([plus(neck, side), b, plus(neck, side, -1)])}Z`;
  return el(`path.wz-arrow.wz-${name}`, { d });
}

/** Circles with their radius, the axes, the circle of all w that are as long as g, and the line through v. */
function background({ g, ahead, limit, width, size, at }) {
  const [cx, cy] = at([0, 0]);
  const ring = radius => {
    const r = radius * size;
    const number = el("text.fig-tick.fig-end", { x: cx + r - 3, y: cy + 13 }, show(radius, 0));
    return [el("circle.fig-grid", { cx, cy, r }), r <= width / 2 && number];
  };
  return [
    [1, 2, 3, 4].map(third => ring((third * limit) / 3)),
    el("path.fig-grid", { d: `M0 ${cy}H${width}M${cx} 0V${HEIGHT}` }),
    el("circle.wz-circle", { cx, cy, r: Math.abs(g) * size }),
    path("ray", at(times(ahead, -9 * limit)), at(times(ahead, 9 * limit))),
  ];
}

/** Where v has been. */
function trail({ v, path: before, at }) {
  const stones = before.map(point => `M${at(point)}m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`);
  return [path("path", ...[...before, v].map(at)), el("path.wz-stones", { d: stones.join("") })];
}

/** The negative gradient at w, and its two parts. */
function gradient({ w, gradW, along, across, at }) {
  const [a, b, c, d] = [w, ...[along, gradW, across].map(part => plus(w, part, -1))].map(at);
  return [path("box", b, c, d), arrow("whole", a, c), arrow("along", a, b), arrow("across", a, d)];
}

/** The vector v, and where one step would take it: at right angles. */
function arms({ v, next, ahead, size, at }) {
  const way = plus(next.v, v, -1);
  const far = size * norm(way);
  const [back, on] = [plus(v, ahead, -10 / size), times(way, 10 / far)];
  const [cx, cy] = at(next.v);
  return [
    far > 14 && path("box", at(back), at(plus(back, on)), at(plus(v, on))),
    path("step", at(v), at(next.v)),
    far > 3 && el("circle.wz-ghost", { cx, cy, r: 6 }),
    arrow("v", at([0, 0]), at(v)),
  ];
}

function weight({ w, at }) {
  const [cx, cy] = at(w);
  return el("circle.fig-you", { cx, cy, r: 6.5, "data-name": "w" });
}

/** The names: v beyond its tip, w off the ray, g on the circle away from both. */
function labels({ v, g, target, ahead, length, w, gradW, size, at }) {
  const left = [-ahead[1], ahead[0]];
  const away = dot(gradW, left) > 0 ? 1 : -1; // the side that the gradient's arrows are not on
  const close = size * Math.abs(length - g) < 30; // v's label then gives way to that of w
  const toward = (along, aside) => plus(times(ahead, along), left, aside);
  const text = (name, [x, y], words = name) =>
    el(`text.wz-label.wz-${name}-text`, { x, y: clamp(y, 14, HEIGHT - 6) }, words);
  const beside = (point, [x, y], distance) => plus(plus(at(point), [x, -y], distance), [0, 5]);
  const quiet = toward(-0.5, dot(target, left) > 0 ? -0.87 : 0.87);
  const [tx, ty] = at(target);
  return [
    text("v", close ? beside(v, toward(-0.9, -0.7 * away), 22) : beside(v, toward(1, 0.8 * away), 17)),
    text("w", beside(w, toward(-0.5, away), 20)),
    text("g", beside(times(quiet, Math.abs(g)), quiet, 12), `g = ${show(g)}`),
    text("target", [tx, ty < 30 ? ty + 28 : ty - 17]),
  ];
}

// -------------------------------------------------------------------------------------------------- 4 the figure

const LEAST = 0.2; // v can't be dragged to 0, where it has no direction
const round = x => Math.round(x * 1000) / 1000;
const point = (radius, angle) => times([Math.cos(angle), Math.sin(angle)], radius);
const STAR = `${line(range(10).map(i => point(i % 2 ? 4 : 9.5, ((i - 2.5) * Math.PI) / 5)))}Z`;

/** The handle of v or of the target. A key takes it to where `step` says; a drag leaves the scale as it is. */
function grip(name, context, { at, from }, step, told, face) {
  const { state, change, width, shape } = context;
  const spot = at(shape[name]);
  const move = to => {
    const there = name === "v" && norm(to) < LEAST ? times(state.v, LEAST / norm(state.v)) : to.map(round);
    change({ [name]: there, path: name === "v" ? [] : state.path }, { move: { moved: name }, glide: false });
  };
  const inside = (x, axis) => clamp(x, 0.02 * [width, HEIGHT][axis], 0.98 * [width, HEIGHT][axis]);
  const drop = pixels => move(from(pixels.map(inside)));
  const dragged = drag(context, spot, drop, () => ({ reach: reach(state) }));
  const pressed = keys(ARROWS, (way, shift) => move(step(way, shift ? 0.2 : 1)));
  const attributes = { at: spot, "aria-label": name, class: `wz-${name}-handle`, ...told, ...dragged, ...pressed };
  return handle(attributes, el("circle.fig-ring", { r: 13 }), face);
}

function grips(context, drawn) {
  const { v, target } = context.state;
  const [length, angle, [x, y]] = [norm(v), Math.atan2(v[1], v[0]), target];
  const push = (way, size) => plus(target, way, 0.1 * size);
  const turn = (
    [right, up],
    size, // by 5 degrees; right is clockwise
  ) => point(Math.max(LEAST, length + 0.1 * size * up), angle - (right * size * Math.PI) / 36);
  const far = Math.max(3, Math.abs(x));
  const place = { value: round(x), low: -far, high: far, text: `at ${show(x)}, ${show(y)}` };
  const text = `length ${show(length)}, direction ${show((angle * 180) / Math.PI, 0)} degrees`;
  const long = { value: round(length), low: 0, high: Math.max(3, round(length)), text };
  return [
    grip("target", context, drawn, push, place, el("path.wz-star", { d: STAR })),
    grip("v", context, drawn, turn, long, el("circle.wz-tip", { r: 7 })),
  ];
}

function picture(context) {
  const drawn = scene({ ...context.state, ...context.shape }, context.width);
  const parts = [background, trail, gradient, arms, weight, labels].map(part => part(drawn));
  return drawing(context, { height: HEIGHT }, el("g", { "aria-hidden": "true" }, parts), grips(context, drawn));
}

/** Take a gradient step, or tell that v or g has run away. */
function step({ state, change }, result) {
  const { v, g } = result.next;
  if (Math.max(result.nextLength, Math.abs(g)) > FAR) return change({}, { move: { far: true } });
  return change({ v, g, path: [...state.path, state.v] }, { move: { ...result, g: state.g, step: true } });
}

function view(state, context) {
  const { change, last } = context;
  const result = compute(state);
  const learned = Object.entries({ both: "v and g", v: "v only" });
  const rate = { trait: "rate", symbol: "η", name: "learning rate", max: 4, step: 0.05 };
  const [length, g, slow, loss] = [show(result.length), show(state.g), show(result.effective, 3), show(result.loss, 3)];
  return [
    controls(
      context,
      {},
      button("take a step", () => step(context, result), { class: "wz-go" }),
      el("span.wz-count", {}, plural(state.path.length, "step")),
      choice(context, { trait: "learns", label: "what is learned", options: learned }),
    ),
    picture(context),
    words(sentence(state, result, last), remark(state, result, last)),
    sliders(slider(context, rate, value => change({ rate: value }, { move: { moved: "rate" }, glide: false }))),
    readouts(["now", { length: ["‖v‖", length], g, effective: ["η g² / ‖v‖²", slow], loss }]),
  ];
}

/** What glides: what moves in a step, and how far the drawing reaches, which stays while something is dragged. */
const shape = (state, { held }) => {
  const { v, g, target } = state;
  return { v, g, target, limit: held?.reach ?? reach(state) };
};

export default figure({ view, shape });
