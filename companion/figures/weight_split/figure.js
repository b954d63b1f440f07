// A weight vector in the plane, split into its length g and the direction of v: what a gradient step does to each.
//
// 1 the arithmetic, 2 the words, 3 the drawing, 4 the figure. `state` holds the traits of the Python class
// WeightSplit; points are pairs [x, y], y upwards.

const TRAITS = ["v", "g", "target", "rate", "learns", "path"];
const FAR = 1000; // beyond this no further step is taken

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

const plus = (a, b, share = 1) => [a[0] + share * b[0], a[1] + share * b[1]];
const times = (a, factor) => [factor * a[0], factor * a[1]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
const norm = a => Math.hypot(a[0], a[1]);

/** Everything at one place: w, the gradients for w, g and v, and where one step would lead. */
export function compute({ v, g, target, rate, learns }) {
  const length = norm(v);
  const unit = times(v, 1 / length);
  const w = times(unit, g);
  const gradW = plus(w, target, -1);
  const gradG = dot(gradW, unit);
  const along = times(unit, gradG);
  const across = plus(gradW, along, -1);
  const gradV = times(across, g / length);
  const next = { v: plus(v, gradV, -rate), g: learns === "both" ? g - rate * gradG : g };
  return {
    length, w, gradW, gradG, along, across, gradV, next,
    nextLength: norm(next.v),
    loss: dot(gradW, gradW) / 2,
    turn: (Math.atan2(rate * norm(gradV), length) * 180) / Math.PI, // a step of v stands at right angles to v
    effective: rate * (g / length) ** 2, // a plain step of w across itself, at this rate, turns it as far
  };
}

// --------------------------------------------------------------------------------------------------- 2 the words

const degrees = x => `${x < 0.95 && x > 0 ? show(x, 1) : show(x, 0)}°`;

/** What just happened. `last`: what moved, and the numbers before it. */
export function sentence(state, result, last) {
  if (last?.far) return `‖v‖ or g has passed ${FAR}: reset, and take a smaller rate.`;
  if (last?.step) {
    const grew = result.length - last.length < 0.005 ? "hardly grew" : `grew from ${show(last.length)} to ${show(result.length)}`;
    return `Step ${state.path.length}: v turned by ${degrees(last.turn)} and ${grew}.`;
  }
  if (last?.moved === "v") return `w stays on its circle, on the ray through v. The next step will turn both by ${degrees(result.turn)}.`;
  if (last?.moved === "target") return "Across v, the gradient turns v (blue); along v, it changes g (orange).";
  if (last?.moved === "rate") return `The next step will turn v by ${degrees(result.turn)}; no step turns it by 90° or more.`;
  return "Take a step: v goes off at right angles to itself.";
}

/** Why. */
export function remark(state, result, last) {
  if (last?.step && state.learns === "both") {
    const wild = Math.abs(result.gradG) > Math.abs(last.gradG) && state.rate > 2;
    if (wild) return `g went from ${show(last.g)} to ${show(state.g)}: nothing slows g down.`;
  }
  const rate = show(result.effective, result.effective < 0.1 ? 3 : 2);
  return `The direction learns at η g² / ‖v‖² = ${rate}: the longer v is, the slower.`;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const HEIGHT = 380;

/** How far from 0 the drawing reaches: 3, 6, 12 … */
function reach(state, result) {
  const points = [state.v, state.target, result.w, ...state.path];
  const farthest = Math.max(...points.flat().map(Math.abs));
  return 3 * 2 ** Math.max(0, Math.ceil(Math.log2(farthest / 2.8)));
}

/** A line from a to b in pixels with an arrowhead at b; nothing where it would be shorter than its head. */
function arrow([x0, y0], [x1, y1], size = 9) {
  const length = Math.hypot(x1 - x0, y1 - y0);
  if (length < 2) return "";
  const head = Math.min(size, length);
  const [ux, uy] = [(x1 - x0) / length, (y1 - y0) / length];
  const [bx, by] = [x1 - head * ux, y1 - head * uy];
  const half = 0.42 * head;
  return `M${x0} ${y0}L${bx} ${by}M${bx - half * uy} ${by + half * ux}L${x1} ${y1}L${bx + half * uy} ${by - half * ux}Z`;
}

const star = [...Array(10).keys()]
  .map(i => [i % 2 ? 4 : 9.5, ((i - 2.5) * Math.PI) / 5])
  .map(([radius, angle]) => `${(radius * Math.cos(angle)).toFixed(2)} ${(radius * Math.sin(angle)).toFixed(2)}`);

function scene(parent) {
  const svg = add(parent, "svg", { height: HEIGHT });
  const back = add(svg, "g", { "aria-hidden": "true" });
  const rings = [1, 2, 3, 4].map(() => add(back, "circle", { class: "wz-ring" }));
  const ringTexts = rings.map(() => add(back, "text", { class: "wz-number" }));
  const axes = add(back, "path", { class: "wz-ring" });
  const circle = add(back, "circle", { class: "wz-circle" });
  const ray = add(back, "path", { class: "wz-ray" });
  const parts = name => add(back, "path", { class: `wz-arrow wz-${name}`, "data-name": name });
  const path = add(back, "path", { class: "wz-path" });
  const stones = add(back, "path", { class: "wz-stones" });
  const [box, whole, along, across] = [add(back, "path", { class: "wz-box" }), ...["whole", "along", "across"].map(parts)];
  const [corner, step] = [add(back, "path", { class: "wz-box" }), parts("step")];
  const ghost = add(back, "circle", { class: "wz-ghost", r: 6 });
  const shaft = parts("v");
  const spot = add(back, "circle", { class: "wz-w", r: 6.5, "data-name": "w" });
  const text = (name, content) => add(back, "text", { class: `wz-label wz-${name}-text` }, content);
  const labels = { v: text("v", "v"), w: text("w", "w"), g: text("g", "g"), target: text("target", "target") };
  const handle = (name, label) => {
    const made = add(svg, "g", {
      class: `wz-handle wz-${name}-handle`, tabindex: 0, role: "slider", "aria-label": label,
      "data-lm-suppress-shortcuts": "true", // or JupyterLab takes the arrow keys
    });
    add(made, "circle", { class: "wz-reach", r: 18 });
    add(made, "circle", { class: "wz-focus", r: 13 });
    return made;
  };
  const handles = { target: handle("target", "target"), v: handle("v", "v") };
  add(handles.target, "path", { class: "wz-star", d: `M${star.join("L")}Z` });
  add(handles.v, "circle", { class: "wz-tip", r: 7 });

  function draw(state, width, limit) {
    const result = compute(state);
    const scale = Math.min(width, HEIGHT) / 2 / limit;
    const at = ([x, y]) => [width / 2 + scale * x, HEIGHT / 2 - scale * y];
    const { v, target } = state;
    set(svg, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    const [ox, oy] = at([0, 0]);
    rings.forEach((ring, i) => {
      const radius = ((i + 1) * limit) / 3;
      set(ring, { cx: ox, cy: oy, r: radius * scale });
      set(ringTexts[i], { x: ox + radius * scale - 3, y: oy + 13 });
      ringTexts[i].textContent = show(radius, 0);
    });
    set(axes, { d: `M0 ${oy}H${width}M${ox} 0V${HEIGHT}` });
    const unit = times(v, 1 / result.length);
    set(circle, { cx: ox, cy: oy, r: Math.abs(state.g) * scale });
    const ends = [times(unit, -9 * limit), times(unit, 9 * limit)].map(at);
    set(ray, { d: `M${ends[0]}L${ends[1]}` });

    // the negative gradient at w, and its two parts
    const [w, down] = [result.w, plus(result.w, result.gradW, -1)];
    const [alongEnd, acrossEnd] = [plus(w, result.along, -1), plus(w, result.across, -1)];
    set(whole, { d: arrow(at(w), at(down)) });
    set(along, { d: arrow(at(w), at(alongEnd)) });
    set(across, { d: arrow(at(w), at(acrossEnd)) });
    set(box, { d: `M${at(alongEnd)}L${at(down)}L${at(acrossEnd)}` });
    set(spot, { cx: at(w)[0], cy: at(w)[1] });

    // v, where it has been, and where one step would take it
    set(path, { d: [...state.path, v].map((point, i) => `${i ? "L" : "M"}${at(point)}`).join("") });
    set(stones, { d: state.path.map(point => `M${at(point)}m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`).join("") });
    set(shaft, { d: arrow([ox, oy], at(v)) });
    set(step, { d: `M${at(v)}L${at(result.next.v)}` });
    const far = scale * Math.hypot(...plus(result.next.v, v, -1));
    set(ghost, { cx: at(result.next.v)[0], cy: at(result.next.v)[1], visibility: far > 3 ? "visible" : "hidden" });
    const side = Math.min(10, far) / scale;
    const turned = times(plus(result.next.v, v, -1), far > 3 ? scale / far : 0);
    const [p, q] = [plus(v, unit, -side), plus(v, turned, side)];
    set(corner, { d: far > 14 ? `M${at(p)}L${at(plus(p, turned, side))}L${at(q)}` : "" });

    // labels: v beyond its tip, w off the ray, g on the circle away from both
    const keep = ([x, y]) => ({ x: clamp(x, 12, width - 12), y: clamp(y, 14, HEIGHT - 6) });
    const beside = (point, direction, distance) => {
      const [x, y] = at(point);
      return keep([x + distance * direction[0], y - distance * direction[1] + 5]);
    };
    const left = [-unit[1], unit[0]];
    const away = dot(result.gradW, left) > 0 ? 1 : -1; // the side that the gradient's arrows are not on
    const close = scale * Math.abs(result.length - state.g) < 30; // v's label then gives way to that of w
    const toward = close ? plus(times(unit, -0.9), left, -away * 0.7) : plus(unit, left, away * 0.8);
    set(labels.v, beside(v, toward, close ? 22 : 17));
    set(labels.w, beside(w, plus(times(left, away), unit, -0.5), 20));
    const quiet = dot(target, left) > 0 ? -1 : 1;
    const rim = times(plus(times(unit, -0.5), left, 0.87 * quiet), Math.abs(state.g));
    set(labels.g, beside(rim, times(rim, 1 / (norm(rim) || 1)), 12));
    labels.g.textContent = `g = ${show(state.g)}`;
    const [tx, ty] = at(target);
    set(labels.target, { x: clamp(tx, 24, width - 24), y: ty < 30 ? ty + 28 : ty - 17 });
    set(handles.v, { transform: `translate(${at(v)})` });
    set(handles.target, { transform: `translate(${tx} ${ty})` });
  }
  return { svg, handles, draw };
}

// -------------------------------------------------------------------------------------------------- 4 the figure

const LEAST = 0.2; // v can't be dragged to 0, where it has no direction

function build({ root, change, state, reset }) {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const bar = add(root, "div", { class: "ex-bar" });
  button(bar, { class: "ex-button wz-go" }, "take a step", () => step());
  const count = add(bar, "span", { class: "wz-count" });
  const press = choice(bar, "what is learned", { both: "v and g", v: "v only" }, learns => change({ learns }));
  button(bar, {}, "reset", reset);
  const stage = add(root, "div", { class: "wz-stage" });
  const { svg, handles, draw } = scene(stage);
  const say = words(root);
  const sliders = add(root, "div", { class: "ex-sliders" });
  const turnRate = slider(
    sliders,
    { trait: "rate", symbol: "η", name: "learning rate", min: 0, max: 4, step: 0.05 },
    rate => change({ rate }, { move: { moved: "rate" }, glide: false }),
  );
  const numbers = add(root, "div", { class: "ex-numbers" });
  const cell = readout(numbers, "now", { length: "‖v‖", g: "g", effective: "η g² / ‖v‖²", loss: "loss" });

  let limit = 3;
  let drag = null; // { name, grip }
  let shown = null; // what is on screen, perhaps on its way to another
  let frame = 0;

  function step() {
    const now = state();
    const result = compute(now);
    const { v, g } = result.next;
    if (Math.max(result.nextLength, Math.abs(g)) > FAR) return change({}, { move: { far: true } });
    const move = { step: true, length: result.length, turn: result.turn, g: now.g, gradG: result.gradG };
    return change({ v, g, path: [...now.path, now.v] }, { move });
  }

  function move(name, point) {
    if (name === "target") return change({ target: point.map(round) }, { move: { moved: name }, glide: false });
    const length = norm(point);
    const v = length < LEAST ? times(state().v, LEAST / norm(state().v)) : point.map(round);
    return change({ v, path: [] }, { move: { moved: name }, glide: false });
  }
  const round = x => Math.round(x * 1000) / 1000;

  for (const [name, handle] of Object.entries(handles)) {
    handle.addEventListener("keydown", event => {
      const keys = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!keys || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      const point = state()[name];
      const size = event.shiftKey ? 0.2 : 1;
      if (name === "target") return move(name, plus(point, keys, 0.1 * size));
      const angle = Math.atan2(point[1], point[0]) - (keys[0] * size * Math.PI) / 36; // 5 degrees, right: clockwise
      const length = Math.max(LEAST, norm(point) + 0.1 * size * keys[1]);
      return move(name, times([Math.cos(angle), Math.sin(angle)], length));
    });
    const at = event => {
      const box = svg.getBoundingClientRect();
      const scale = Math.min(box.width, HEIGHT) / 2 / limit;
      const edge = [box.width / 2 / scale, HEIGHT / 2 / scale].map(half => 0.96 * half);
      const point = [event.clientX - box.left - box.width / 2, HEIGHT / 2 - (event.clientY - box.top)];
      return point.map((x, axis) => clamp(x / scale, -edge[axis], edge[axis]));
    };
    handle.addEventListener("pointerdown", event => {
      if (event.button !== 0) return;
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      handle.focus({ preventScroll: true });
      drag = { name, grip: plus(state()[name], at(event), -1) };
    });
    handle.addEventListener("pointermove", event => {
      if (drag?.name === name) move(name, plus(at(event), drag.grip));
    });
    for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => { drag = null; });
  }

  function paint(target, width, glide) {
    cancelAnimationFrame(frame);
    const wanted = drag ? limit : reach(target, compute(target));
    const put = (now, zoom) => draw((shown = { ...now, zoom }), width, zoom);
    limit = wanted;
    if (!glide || still.matches || !shown) return put(target, wanted);
    const [from, began] = [shown, performance.now()];
    const blend = (a, b, t) => (Array.isArray(a) ? a.map((x, i) => blend(x, b[i], t)) : a + (b - a) * t);
    const tick = time => {
      const t = Math.max(0, Math.min(1, (time - began) / 350));
      const share = 1 - (1 - t) ** 3;
      const mixed = Object.fromEntries(["v", "g", "target"].map(key => [key, blend(from[key], target[key], share)]));
      const there = t >= 1 || norm(mixed.v) === 0;
      put(there ? target : { ...target, ...mixed }, there ? wanted : blend(from.zoom, wanted, share));
      if (!there && root.isConnected) frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
  }

  return (now, { width, last, glide }) => {
    const result = compute(now);
    press(now.learns);
    turnRate(now.rate);
    count.textContent = plural(now.path.length, "step");
    set(handles.v, {
      "aria-valuenow": round(result.length),
      "aria-valuemin": 0,
      "aria-valuemax": Math.max(3, round(result.length)),
      "aria-valuetext": `length ${show(result.length)}, direction ${show((Math.atan2(now.v[1], now.v[0]) * 180) / Math.PI, 0)} degrees`,
    });
    set(handles.target, {
      "aria-valuenow": round(now.target[0]),
      "aria-valuemin": -Math.max(3, Math.abs(now.target[0])),
      "aria-valuemax": Math.max(3, Math.abs(now.target[0])),
      "aria-valuetext": `at ${show(now.target[0])}, ${show(now.target[1])}`,
    });
    cell.length.textContent = show(result.length);
    cell.g.textContent = show(now.g);
    cell.effective.textContent = show(result.effective, 3);
    cell.loss.textContent = show(result.loss, 3);
    say(sentence(now, result, last), remark(now, result, last));
    paint(now, width, glide);
  };
}

export default explorable("weight-split", TRAITS, build);
