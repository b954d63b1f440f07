// One hidden unit's batch cut into ghosts: how much does one example's output depend on its company?
//
// 1 the arithmetic, 2 the words, 3 the drawing. A place is where an example stands after the shuffle.

const SHUFFLES = 500;
const BIN = 0.1; // width of the track's bars, in units of the output
const SEEN = 0.005; // a smaller move would be written as 0.00

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** Which example stands at each place in shuffle number `shuffle`; number 0 is no shuffle. */
export function order(count, shuffle) {
  const places = range(count);
  if (shuffle === 0) return places;
  const draw = generator(shuffle);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(draw() * (last + 1));
    [places[last], places[other]] = [places[other], places[last]];
  }
  return places;
}

/** What stands at each place, each ghost's moments, and what comes out. */
export function compute({ values, ghost_size, shuffle, eps }) {
  const examples = order(values.length, shuffle);
  const inputs = examples.map(example => values[example]);
  const ghosts = range(values.length / ghost_size).map(ghost =>
    moments(inputs.slice(ghost * ghost_size, (ghost + 1) * ghost_size)),
  );
  const outputs = inputs.map((h, place) => normalized(h, ghosts[Math.floor(place / ghost_size)], eps));
  return { examples, inputs, ghosts, outputs };
}

/** The followed example's output in each of the 500 shuffles. */
export function track({ values, ghost_size, followed, eps }) {
  return range(SHUFFLES).map(i => {
    const examples = order(values.length, i + 1);
    const place = examples.indexOf(followed);
    const first = place - (place % ghost_size);
    const company = examples.slice(first, first + ghost_size).map(example => values[example]);
    return normalized(values[followed], moments(company), eps);
  });
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** What the shuffle did: `before` is the output before it, or null if something else was changed. */
function sentence({ values, ghost_size }, out, before) {
  const ghosts = values.length / ghost_size;
  if (before !== null) {
    const stays = Math.abs(out - before) < SEEN ? ", so it stayed" : "";
    const what = ghosts === 1 ? "Another order" : "New company";
    return `${what}: the output went from ${show(before)} to ${show(out)}${stays}.`;
  }
  if (ghosts === 1) return `All ${ghost_size} examples share one mean and one deviation.`;
  return `${ghosts} ghosts of ${ghost_size}: each has a mean and a deviation of its own.`;
}

function remark({ values, ghost_size }, spread) {
  if (ghost_size === values.length) return "One ghost is the whole batch: its company is always the same.";
  const head = `Its input is the same in all ${SHUFFLES} shuffles; its output has a spread of ${show(spread)}.`;
  return ghost_size === 2 ? `${head} Of two, one comes out as +1 and the other as −1.` : head;
}

// ------------------------------------------------------------------------------------------------- 3 the drawing

/** Values by place as dots, with a band of m ± s and a line at m for each ghost. */
function dots(name, box, title, values, ghosts, mine) {
  const size = values.length / ghosts.length;
  const slot = box.x(1) - box.x(0);
  const [inset, radius] = [Math.min(2, 0.12 * size * slot), clamp(0.36 * slot, 1.5, 4)];
  const band = ({ m, s }, ghost) => {
    const [x, width, own] = [box.x(ghost * size) + inset, size * slot - 2 * inset, ghost === Math.floor(mine / size)];
    const [y, height] = [box.y(m + s), Math.max(0, box.y(m - s) - box.y(m + s))];
    return [
      el("rect.fig-band", { "data-mine": own, "data-m": m, "data-s": s, x, y, width, height }),
      el("path.fig-mean", { "data-mine": own, d: `M${x} ${box.y(m)}h${width}` }),
    ];
  };
  const dot = place => {
    const own = place === mine;
    const spot = { cx: box.x(place + 0.5), cy: box.y(values[place]), r: own ? radius + 2 : radius };
    const kind = own ? "fig-you" : null;
    return el("circle.fig-dot", { class: kind, "data-place": place, "data-value": values[place], ...spot });
  };
  const others = range(values.length).filter(place => place !== mine);
  // the followed one last, on top
  return el(`g.gh-${name}`, {}, box.title(title), box.rows(), ghosts.map(band), others.map(dot), dot(mine));
}

/** How often the followed output fell where, and where it is now. */
function record(box, outputs, out) {
  const counts = new Map();
  for (const value of outputs) {
    const bin = Math.round(value / BIN);
    counts.set(bin, (counts.get(bin) ?? 0) + 1);
  }
  const most = Math.max(...counts.values());
  const bars = [...counts].map(([bin, count]) => {
    const [from, to] = [(bin - 0.5) * BIN, (bin + 0.5) * BIN].map(box.x);
    const height = ((box.bottom - box.top) * count) / most;
    const place = { x: from + 0.4, width: Math.max(1, to - from - 0.8), y: box.bottom - height, height };
    return el("rect.gh-bar", { key: bin, "data-count": count, "data-bin": bin, ...place });
  });
  return [
    box.title(`out of the one followed, in ${SHUFFLES} shuffles`),
    el("path.fig-base", { d: `M${box.left} ${box.bottom}H${box.right}` }),
    box.columns(),
    bars,
    el("path.gh-now", { d: `M${box.x(out)} ${box.bottom + 3}V${box.top - 2}` }),
  ];
}

function picture(state, context, { examples, inputs, ghosts, outputs }, seen) {
  const mine = examples.indexOf(state.followed);
  const [least, most] = [Math.min(...inputs), Math.max(...inputs)];
  const space = 0.06 * (most - least) || 1;
  const limit = 0.15 + Math.max(3, ...[...outputs, ...seen].map(Math.abs));
  const [input, output, places] = [
    [least - space, most + space],
    [-limit, limit],
    [0, inputs.length],
  ];
  const left = room(context, [...ticks(...input), ...ticks(...output)]);
  const box = (top, height, x, y) => panel({ left, right: context.width - 8, top, bottom: top + height, x, y });
  const after = ghosts.map(({ s }) => ({ m: 0, s: normalized(s, { m: 0, s }, state.eps) }));
  const { m: mean, s: spread } = moments(seen);
  const label =
    `${plural(ghosts.length, "ghost")} of ${state.ghost_size}. The followed example's output is ${show(outputs[mine])}; ` +
    `over ${SHUFFLES} shuffles its mean is ${show(mean)} and its spread ${show(spread)}.`;
  return drawing(
    context,
    { height: 428, label },
    dots("in", box(26, 118, places, input), "in: h, side by side in ghosts", inputs, ghosts, mine),
    dots("out", box(174, 118, places, output), "out: (h − m) / √(s² + ε)", outputs, after, mine),
    record(box(322, 84, output, [0, 1]), seen, outputs[mine]),
  );
}

function view(state, context) {
  const { values, ghost_size: size, followed, shuffle } = state;
  const [result, seen] = [compute(state), track(state)];
  const place = result.examples.indexOf(followed);
  const [ghost, out] = [result.ghosts[Math.floor(place / size)], result.outputs[place]];
  const { m: mean, s: spread } = moments(seen);
  const again = () => context.change({ shuffle: (shuffle % SHUFFLES) + 1 }, { move: { before: out } });
  const [sizes, examples] = [divisors(values.length, 2), range(values.length)];
  return [
    controls(context, {}, button("shuffle the batch", again)),
    picture(state, context, result, seen),
    words(sentence(state, out, context.last?.before ?? null), remark(state, spread)),
    sliders(
      pick(context, { trait: "ghost_size", symbol: "g", name: "examples in a ghost", values: sizes }),
      pick(context, { trait: "followed", name: "example followed", values: examples, text: i => i + 1 }),
    ),
    readouts(
      ["its ghost", { m: show(ghost.m), s: show(ghost.s) }],
      ["the one followed", { h: show(values[followed]), out: show(out) }, "fig-yours"],
      [`out, ${SHUFFLES} shuffles`, { mean: show(mean), spread: ["s.d.", show(spread)] }],
    ),
  ];
}

export default figure({ view });
