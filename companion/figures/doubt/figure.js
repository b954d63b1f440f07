// One trained network, asked many times, each time with the statistics of another batch. What makes its answers differ?
//
// 1 the arithmetic, 2 the words, 3 the drawing.

const QUERIES = 121;
const DRAWN = 40; // passes that are drawn as lines, at most
const DRAWS = 1000;

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** Numbers of the points that a pass draws, without replacement; a larger batch begins with a smaller one. */
export function batch({ cases, case: shown, batch_size, draw }, pass) {
  const order = range(cases[shown].points.length);
  const random = generator(DRAWS * pass + draw);
  for (let first = 0; first < batch_size; first++) {
    const other = first + Math.floor(random() * (order.length - first));
    [order[first], order[other]] = [order[other], order[first]];
  }
  return order.slice(0, batch_size);
}

/** Units, each a list of one value an example, times a matrix of weights. */
const linear = (units, weights) =>
  weights.map(row => units[0].map((_, i) => row.reduce((total, weight, unit) => total + weight * units[unit][i], 0)));

/** Outputs for `inputs`, normalised with `kept`: each layer's moments, unit by unit. Without: with their own. */
function forward({ weights, scales, offsets }, inputs, eps, kept = []) {
  let units = [Float64Array.from(inputs)];
  const used = scales.map((gammas, layer) => {
    const h = linear(units, weights[layer]);
    const all = kept[layer] ?? h.map(values => moments(values));
    const relu = (value, unit) => Math.max(0, gammas[unit] * normalized(value, all[unit], eps) + offsets[layer][unit]);
    units = h.map((values, unit) => values.map(value => relu(value, unit)));
    return all;
  });
  return { outputs: linear(units, weights.at(-1))[0].map(value => value + offsets.at(-1)[0]), used };
}

/** The error function, to rounding: a series without cancellation. */
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let [total, term] = [0, x];
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) {
    total += term;
    term *= (2 * x * x) / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total;
}

/** Continuous ranked probability score of a Gaussian with this error of its mean. */
function crps(error, std) {
  if (std === 0) return Math.abs(error);
  const z = error / std;
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  return std * (z * erf(z / Math.SQRT2) + 2 * density - 1 / Math.sqrt(Math.PI));
}

/** From a little below all values to a little above them. */
function around(values, share) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const space = share * (high - low) || 1;
  return [low - space, high + space];
}

const average = values => sum(values) / values.length;

/** At each x, all passes, their mean and deviation, and the deviation with the noise; and how held-out points fare. */
export function compute(state) {
  const { cases, case: shown, passes, noise, eps } = state;
  const { points, held_out, ...network } = cases[shown];
  const inputs = points.map(([x]) => x);
  const x = range(QUERIES).map(scale([0, QUERIES - 1], around(inputs, 0.15)));
  const queries = [...x, ...held_out.map(point => point[0])];
  const samples = range(passes).map(pass => {
    const drawn = batch(state, pass).map(i => inputs[i]);
    return forward(network, queries, eps, forward(network, drawn, eps).used).outputs;
  });
  const all = queries.map((_, i) => moments(samples.map(row => row[i])));
  const [curve, held] = [all.slice(0, QUERIES), all.slice(QUERIES)];
  const [error, std] = [({ m }, i) => held_out[i][1] - m, ({ s }) => Math.hypot(s, noise)];
  const spread = curve.map(({ s }) => s);
  const widest = spread.indexOf(Math.max(...spread));
  return {
    ...{ x, samples: samples.map(row => Array.from(row).slice(0, QUERIES)) },
    ...{ mean: curve.map(({ m }) => m), spread, total: curve.map(std) },
    ...{ typical: average(held.map(({ s }) => s)), widest: { x: x[widest], spread: spread[widest] } },
    inside: held.map((one, i) => Math.abs(error(one, i)) <= 2 * std(one)),
    crps: average(held.map((one, i) => crps(error(one, i), std(one)))),
  };
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** What just happened: `last` says which trait was moved, what it was, and what the passes' spread was before. */
function sentence({ cases, case: shown, batch_size, passes, noise }, { typical }, last) {
  if (passes === 1) return "One pass: one answer, and no sign of doubt.";
  const all = cases[shown].points.length;
  if (batch_size === all) return `Batches of all ${all} points: all passes are the same one.`;
  const now = show(typical);
  if (!last) return `${passes} passes with batches of ${batch_size} spread by ${now} at a held-out point, on average.`;
  const before = show(last.before);
  const spread = before === now ? `spread still by ${now}` : `spread by ${now} instead of ${before}`;
  return {
    batch_size: `Batches of ${batch_size} instead of ${last.was}: the passes ${spread}.`,
    case: `“${cases[shown].name}”: the passes ${spread}.`,
    passes: `${passes} passes instead of ${last.was}: they ${spread}.`,
    draw: `Other batches: the passes ${spread}.`,
    noise: `The passes ${spread}; a noise of ${show(noise)} is added.`,
  }[last.moved];
}

function remark({ noise }, { inside }) {
  const share = Math.round(100 * average(inside.map(Number)));
  const head = `${share} % of the held-out points lie in the band`;
  if (share >= 99) return `${head}: it is wider than it need be.`;
  if (share >= 91) return `${head}; 95 % should.`;
  return `${head}; 95 % should. ${noise === 0 ? "The passes do not know the noise: add some." : "Add more noise."}`;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

const PASSES = [1, 2, 5, 10, 20, 50, 100, 200];
const SIZES = [2, 4, 8, 16, 32, 64, 128, 256, 512];
const NOISES = range(17).map(i => Number((0.05 * i).toFixed(2)));

const point = (cx, cy) => el("circle.do-point", { cx, cy, r: 2.2 });
const held = (cx, cy, inside) => el("circle.do-held", { "data-inside": inside, cx, cy, r: 2.6 });

/** The meaning of those signs that are there. */
function key({ noise }, { inside }) {
  const [stroke, area] = [{ d: "M0 7h26" }, { y: 1, width: 26, height: 12 }];
  const signs = [
    [el("path.do-pass", stroke), "passes"],
    [el("path.fig-line", stroke), "mean"],
    [el("rect.fig-band", area), "± 2 s.d."],
    [noise > 0 && el("rect.do-noise", area), "with noise"],
    [point(13, 7), "training"],
    [held(13, 7, true), "held out"],
    [inside.includes(false) && held(13, 7, false), "outside"],
  ];
  return legend(...signs.filter(([sign]) => sign));
}

/** What lies in a box, cut off at its edges. */
function cut({ left, right, top, bottom }, ...children) {
  const viewBox = [left, top, right - left, bottom - top].join(" ");
  return el("svg.do-cut", { x: left, y: top, width: right - left, height: bottom - top, viewBox }, ...children);
}

const curve = (box, x, values) => values.map((value, i) => [box.x(x[i]), box.y(value)]);

/** The passes, their mean and its band, and the points. */
function answers({ points, held_out }, { x, mean, spread, total, samples, inside }, noise, box) {
  const off = (by, times) => mean.map((m, i) => m + times * by[i]);
  const band = by => `${line([...curve(box, x, off(by, 2)), ...curve(box, x, off(by, -2)).reverse()])}Z`;
  return cut(
    box,
    el("path.do-noise", { d: noise > 0 ? band(total) : "" }),
    el("path.fig-band", { d: band(spread) }),
    points.map(([px, py]) => point(box.x(px), box.y(py))),
    samples.slice(0, DRAWN).map(row => el("path.do-pass", { d: line(curve(box, x, row)) })),
    el("path.fig-line", { d: line(curve(box, x, mean)) }),
    held_out.map(([px, py], i) => held(box.x(px), box.y(py), inside[i])),
  );
}

const counted = inside => `${sum(inside.map(Number))} of ${inside.length}`;

/** The answers, and how far they spread now and `before`. */
function picture(state, context, result, before) {
  const { x, spread, widest, typical, inside } = result;
  const outputs = state.cases.flatMap(one => one.points.map(point => point[1])); // the same axis for all cases
  const [y, peak] = [around(outputs, 0.25), Math.max(0.1, widest.spread, ...before)];
  const marks = ticks(0, peak).filter((_, i, all) => all.length < 5 || i % 2 === 0);
  const [left, right] = [room(context, [...ticks(...y), ...marks], 34, "12px"), context.width - 8];
  const across = { left, right, x: [x[0], x.at(-1)] };
  const upper = panel({ ...across, top: 10, bottom: 260, y });
  const lower = panel({ ...across, top: 294, bottom: 374, y: [0, 1.08 * peak] });
  const spreads = (kind, values) => el(`path.${kind}`, { d: line(curve(lower, x, values)) });
  const label =
    `Passes spread by ${show(typical)} at held-out points and most, by ${show(widest.spread)}, ` +
    `at x = ${show(widest.x, 1)}; ${counted(inside)} held-out points lie in the band.`;
  return drawing(
    context,
    { height: 412, label },
    [upper.rows(), lower.rows(marks), lower.columns()],
    el("text.fig-tick", { x: (left + right) / 2, y: 408 }, "input x"),
    lower.title("spread of the passes (s.d.)", 0, 12),
    before.length > 0 && el("path.do-before", { d: `M${right - 70} 278h18` }),
    before.length > 0 && el("text.do-key", { x: right, y: 282 }, "before"),
    answers(state.cases[state.case], result, state.noise, upper),
    cut(lower, spreads("do-before", before), spreads("fig-line", spread)),
  );
}

function view(state, context) {
  const result = compute(state);
  const { typical, widest, inside, spread } = result;
  const turn = moved => value => {
    const move = { moved, was: state[moved], before: typical, curve: moved === "noise" ? [] : spread };
    context.change({ [moved]: value }, { move });
  };
  const listed = (trait, values, words) =>
    pick(context, { trait, values: including(values, state[trait]), ...words }, turn(trait));
  const options = state.cases.map(({ name }, i) => [i, name]);
  const most = state.cases[0].points.length;
  const sizes = [...SIZES.filter(size => size < most), most];
  const top = `${show(widest.spread)} at x = ${show(widest.x, 1)}`;
  const far = { typical: ["held-out points", show(typical)], widest: top };
  const fit = { inside: ["in the band", counted(inside)], crps: ["CRPS", show(result.crps, 3)] };
  const data = choice(context, { trait: "case", label: "data", options }, turn("case"));
  const again = button("draw other batches", () => turn("draw")((state.draw % DRAWS) + 1));
  return [
    controls(context, {}, data, again),
    key(state, result),
    picture(state, context, result, context.last?.curve ?? []),
    words(sentence(state, result, context.last), remark(state, result)),
    sliders(
      listed("batch_size", sizes, { symbol: "M", name: "points in a batch" }),
      listed("passes", PASSES, { symbol: "T", name: "passes" }),
      listed("noise", NOISES, { symbol: "σ", name: "noise added", text: show }),
    ),
    readouts(["spread of the passes", far], ["held-out points", fit]),
  ];
}

export default figure({ view });
