// One example's logit in many batches: how far does it scatter, and how does that depend on the size of the batch?
//
// 1 the arithmetic, 2 the words, 3 the drawing. A batch of a size is the beginning of a larger one.

const BATCHES = 300;
const DRAWS = 1000;
const SIZES = [4, 8, 16, 32, 64, 128, 256, 512];

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** The points of batch number `index`, by their numbers; drawn with replacement. */
export function mates({ points, draw }, index, count) {
  const random = generator(draw * BATCHES + index);
  return range(count).map(() => Math.floor(random() * points.length));
}

const inputs = ({ units }, x) => units.map(([w1, w2]) => w1 * x[0] + w2 * x[1]);

/** The logit of an example whose units have the values `h`, normalized with means and squares of deviations. */
const logit = ({ units, bias, eps }, h, mean, square) =>
  units.reduce((total, [, , scale, offset, out], k) => {
    const unit = (scale * (h[k] - mean[k])) / (Math.sqrt(Math.max(0, square[k]) + eps) || 1) + offset;
    return total + out * Math.max(0, unit);
  }, bias);

/** The example's logit in each batch of each size, `sizes × BATCHES`; their spread; and the logit from all points. */
export function compute(state) {
  const { points, units, example, own } = state;
  const sizes = including(SIZES, state.batch_size);
  const all = points.map(point => inputs(state, point));
  const whole = units.map((_, k) => moments(all.map(h => h[k])));
  const centred = h => h.map((value, k) => value - whole[k].m); // or E[h²] − m² would lose digits
  const [others, mine, zero] = [all.map(centred), centred(inputs(state, example)), units.map(() => 0)];
  const logits = sizes.map(() => []);
  for (let index = 0; index < BATCHES; index++) {
    const [total, squares] = [[...zero], [...zero]];
    const add = h => {
      for (let k = 0; k < h.length; k++) {
        total[k] += h[k];
        squares[k] += h[k] * h[k];
      }
    };
    let size = 0;
    const batch = mates(state, index, sizes.at(-1));
    if (own) add(mine);
    sizes.forEach((until, place) => {
      for (; size < until - own; size++) add(others[batch[size]]);
      const mean = total.map(value => value / until);
      const square = squares.map((value, k) => value / until - mean[k] ** 2);
      logits[place].push(logit(state, mine, mean, square));
    });
  }
  const spreads = logits.map(row => moments(row).s);
  const square = whole.map(({ s }) => s * s);
  return { sizes, logits, spreads, calm: logit(state, mine, zero, square) };
}

// --------------------------------------------------------------------------------------------------- 2 the words

const other = (row, calm) => sum(row.map(value => Number(value < 0 !== calm < 0)));

function sentence({ batch_size: size, own }, spread, last) {
  if (last?.moved === "batch_size" && last.was !== size) {
    const times = spread > 0 ? `, times ${show(spread / last.before)}` : "";
    return `From batches of ${last.was} to ${size}: the scatter goes from ${show(last.before)} to ${show(spread)}${times}.`;
  }
  if (last?.moved === "own") {
    const how = own ? "The example is in its batches" : "The batches are without the example";
    return `${how}: the scatter goes from ${show(last.before)} to ${show(spread)}.`;
  }
  return `In ${BATCHES} batches of ${size} the logit has a standard deviation of ${show(spread)}.`;
}

function remark({ batch_size: size, own }, turned) {
  if (own && size <= 8) return `With its own batch of ${size}, no value is further than √${size - 1} from the mean.`;
  const many = turned ? `${turned} of ${BATCHES} batches` : "No batch";
  return `${many} put${turned ? "" : "s"} it into the other class than statistics of all points do.`;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

/** The points, and the example, to be dragged and moved by keys. */
function plane(context, size) {
  const { points, example } = context.state;
  const reach = Math.max(1.08 * Math.max(...points.flat().map(Math.abs)), ...example.map(Math.abs));
  const [low, high] = [18, size - 18]; // a finger's width inside
  const [x, y] = [scale([-reach, reach], [low, high]), scale([-reach, reach], [high, low])];
  const [right, up] = [scale([low, high], [-reach, reach]), scale([high, low], [-reach, reach])];
  const move = to => {
    const moved = to.map(value => Math.round(clamp(value, -reach, reach) * 100) / 100);
    context.change({ example: moved }, { glide: false });
  };
  const at = [x(example[0]), y(example[1])];
  const step = (way, fine) => move(example.map((value, axis) => value + (fine ? 0.02 : 0.1) * way[axis]));
  const moves = { ...keys(ARROWS, step), ...drag(context, at, ([px, py]) => move([right(px), up(py)])) };
  const label = `example: ${show(example[0])}, ${show(example[1])}; arrow keys move it`;
  const face = [el("circle.fig-ring", { r: 11 }), el("circle.fig-you", { r: 7 })];
  return [
    el("rect.sc-ground", { width: size, height: size }),
    points.map(([px, py, one]) => el("circle.sc-point", { cx: x(px), cy: y(py), r: 3, "data-one": one > 0 })),
    handle({ at, role: "button", "aria-label": label, ...moves }, face),
  ];
}

const ROUND = range(9).flatMap(i => [1, 2, 5].map(digit => digit * 10 ** (i - 4)));

/** The scatter at each size, beside 1/√M. */
function law(context, { sizes, spreads }, { left, right, top, bottom }) {
  const shown = spreads.map(spread => Math.max(spread, 1e-4));
  const ends = [0.8 * Math.min(...shown), 1.25 * Math.max(...shown)];
  const x = [Math.log2(sizes[0]) - 0.3, Math.log2(sizes.at(-1)) + 0.3];
  const inside = ROUND.filter(mark => mark > ends[0] && mark < ends[1]);
  const marks = inside.length > 7 ? inside.filter(mark => Number.isInteger(Math.log10(mark) + 1e-9)) : inside;
  const edge = left + room(context, marks);
  const box = panel({ left: edge, right, top, bottom, x, y: ends, by: Math.log10 });
  const at = (size, spread) => [box.x(Math.log2(size)), box.y(spread)];
  const root = sizes.map(size => [size, shown.at(-1) * Math.sqrt(sizes.at(-1) / size)]);
  const dots = sizes.map((size, i) => {
    const [cx, cy] = at(size, shown[i]);
    const mine = size === context.state.batch_size;
    return el("circle", { class: mine ? "fig-you" : "sc-dot", cx, cy, r: mine ? 6 : 3.5, "data-spread": spreads[i] });
  });
  return [
    box.title("standard deviation of the logit", edge, 8),
    box.rows(marks),
    box.columns(SIZES.map(Math.log2), power => 2 ** power),
    el("path.sc-law", { d: line(root.filter(([, spread]) => spread < ends[1]).map(([m, s]) => at(m, s))) }),
    el("path.fig-line", { d: line(sizes.map((size, i) => at(size, shown[i]))) }),
    dots,
    el("text.fig-tick", { x: (edge + right) / 2, y: bottom + 32 }, "batch size M"),
  ];
}

/** How often the logit fell where; the line is the logit from the statistics of all points. */
function histogram(row, calm, wide, { left, right, top, bottom }) {
  const values = [...row, calm - wide, calm + wide, 0];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const width = (high - low) / 48;
  const counts = new Map();
  for (const value of row) {
    const bin = Math.min(47, Math.floor((value - low) / width));
    counts.set(bin, (counts.get(bin) ?? 0) + 1);
  }
  const box = panel({ left, right, top, bottom, x: [low, high], y: [0, Math.max(...counts.values())] });
  const bars = [...counts].map(([bin, count]) => {
    const [x, y] = [box.x(low + bin * width), box.y(count)];
    const place = { x: x + 0.4, width: Math.max(1, box.x(low + width) - left - 0.8), y, height: bottom - y };
    const mark = low + (bin + 0.5) * width < 0 !== calm < 0;
    return el("rect.sc-bar", { key: bin, "data-count": count, "data-other": mark, ...place });
  });
  return [
    box.title(`logit in ${BATCHES} batches`),
    bars,
    el("path.fig-base", { d: `M${left} ${bottom}H${right}` }),
    el("path.fig-grid", { d: `M${box.x(0)} ${bottom}V${top}` }),
    el("path.sc-calm", { d: `M${box.x(calm)} ${bottom + 3}V${top - 2}` }),
    box.columns(),
  ];
}

function picture(context, result, row) {
  const { width } = context;
  const beside = width >= 560;
  const size = Math.min(beside ? 0.42 * width : width, 300);
  const [left, top] = beside ? [size + 24, 26] : [0, size + 34];
  const chart = { left, right: width - 12, top, bottom: beside ? size - 36 : top + 160 };
  const below = (beside ? size : chart.bottom + 36) + 42;
  const usual = result.spreads[result.sizes.indexOf(32)];
  return drawing(
    context,
    { height: below + 112 },
    plane(context, size),
    law(context, result, chart),
    histogram(row, result.calm, 3 * usual || 1, { left: 8, right: width - 8, top: below, bottom: below + 88 }),
  );
}

function view(state, context) {
  const result = compute(state);
  const place = result.sizes.indexOf(state.batch_size);
  const [row, spread] = [result.logits[place], result.spreads[place]];
  const turned = other(row, result.calm);
  const turn = trait => value =>
    context.change({ [trait]: value }, { move: { moved: trait, was: state[trait], before: spread } });
  const options = [
    [true, "its own batch"],
    [false, "others only"],
  ];
  const size = { trait: "batch_size", symbol: "M", name: "examples in a batch", values: result.sizes };
  return [
    controls(
      context,
      {},
      choice(context, { trait: "own", label: "statistics from", options }, turn("own")),
      button("draw other batches", () => turn("draw")((state.draw % DRAWS) + 1)),
    ),
    legend(
      [el("circle.sc-point", { cx: 13, cy: 7, r: 4, "data-one": false }), "class 0"],
      [el("circle.sc-point", { cx: 13, cy: 7, r: 4, "data-one": true }), "class 1"],
      [el("circle.fig-you", { cx: 13, cy: 7, r: 6 }), "the example"],
      [el("path.sc-law", { d: "M2 7H24" }), "1/√M"],
      [el("path.sc-calm", { d: "M13 1V13" }), "noise off"],
    ),
    picture(context, result, row),
    words(sentence(state, spread, context.last), remark(state, turned)),
    sliders(pick(context, size, turn("batch_size"))),
    readouts(
      [
        `logit at ${state.example.map(value => show(value)).join(", ")}`,
        { calm: ["noise off", show(result.calm)], mean: ["mean of batches", show(moments(row).m)] },
      ],
      [
        `in ${BATCHES} batches`,
        { spread: ["s.d.", show(spread)], turned: ["other class", String(turned)] },
        "fig-yours",
      ],
    ),
  ];
}

export default figure({ view });
