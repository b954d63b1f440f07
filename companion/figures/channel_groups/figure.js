// One image's channels under group norm: choose the number of groups, turn one channel up, and see who moves.
//
// 1 the arithmetic, 2 the words, 3 the figure. Channels are arrays [channel][position].

const SEEN = 0.005; // a smaller move would be written as 0.00

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

const mean = values => moments(values).m;
const deviation = values => moments(values).s;

/** Mean 0 and deviation 1 for each of `groups` groups of channels; also the number that each group is divided by. */
function groupNorm(x, groups, eps) {
  const size = x.length / groups;
  const parts = range(groups).map(g => x.slice(g * size, (g + 1) * size));
  const shared = parts.map(part => moments(part.flat()));
  const out = x.map((row, c) => row.map(value => normalized(value, shared[Math.floor(c / size)], eps)));
  return { out, roots: shared.map(({ s }) => Math.sqrt(s ** 2 + eps) || 1) };
}

/** What goes in and comes out, each channel's loudness, what groups are divided by, and how far each output moved. */
export function compute({ values, groups, channel, gain, eps }) {
  const input = values.map((row, c) => (c === channel ? row.map(value => gain * value) : row));
  const { out, roots } = groupNorm(input, groups, eps);
  const { out: before } = groupNorm(values, groups, eps);
  const moved = out.map((row, c) => Math.sqrt(mean(row.map((value, p) => (value - before[c][p]) ** 2))));
  return { input, output: out, before, roots, moved, loud: input.map(deviation), levelled: out.map(deviation) };
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** How many share, and what moved, as a sentence. */
export function sentence({ values, groups, channel, gain }, { moved }) {
  const size = values.length / groups;
  if (gain === 1) {
    if (size === 1) return "Each channel has a mean and a deviation of its own.";
    return groups === 1
      ? `All ${size} channels share one mean and one deviation.`
      : `${size} channels share one mean and one deviation.`;
  }
  const seen = moved.flatMap((distance, c) => (distance >= SEEN ? [c + 1] : []));
  const head = `Channel ${channel + 1} is ${show(gain, 1)} times as loud:`;
  if (seen.length === 0) return `${head} no output moved.`;
  const still = moved.length - seen.length;
  const outputs = seen.length === 1 ? "1 output moved" : `${seen.length} outputs moved`;
  return `${head} ${outputs}, ${still === 0 ? "none stayed" : `${still} stayed`}.`;
}

/** What follows for loudness. */
export function remark({ values, groups, gain }) {
  if (groups === values.length) {
    return gain === 1
      ? "That is instance norm: all channels come out equally loud."
      : "A channel on its own is divided by its own loudness, which takes the gain off again.";
  }
  if (gain !== 1) return "Its group is divided by another number now. Other groups know nothing of it.";
  return groups === 1
    ? "That is layer norm: a loud channel stays loud, a quiet one quiet."
    : "Within a group, a loud channel stays loud. Between groups, loudness is levelled.";
}

// -------------------------------------------------------------------------------------------------- 3 the figure

const ROW = 24;
const TOP = 22; // the heads of the columns

/** The curve of a channel, `limit` reaching half a row up; a louder one runs into its neighbours' rows. */
function curve(row, [from, to], middle, limit) {
  const x = scale([0, row.length - 1], [from, to]);
  const y = scale([0, limit], [middle, middle - 0.5 * ROW + 1.5]);
  return line(row.map((value, p) => [x(p), y(value)]));
}

const furthest = rows => Math.max(1e-9, ...rows.flat().map(Math.abs));

/** Where the columns stand: the curves before (`left`) and after (`right`), and the middles of all six columns. */
function columns(width) {
  const narrow = width < 480;
  const [names, number, gap] = narrow ? [20, 34, 50] : [58, 48, 96];
  const wave = (width - names - 2 * number - gap - 4) / 2;
  const left = [names + number, names + number + wave];
  const right = [left[1] + gap, left[1] + gap + wave];
  const [loud, levelled, root] = [names + number / 2, right[1] + number / 2 + 2, left[1] + gap / 2];
  const middles = [names / 2, loud, left[0] + wave / 2, root, right[0] + wave / 2, levelled];
  const heads = [narrow ? "" : "channel", "s.d.", "in", "", "out", "s.d."];
  return { names, left, right, middles, heads };
}

/** A group's box, and what it is divided by. */
function box(root, top, height, mine, { names, middles }, width) {
  const place = { x: names + 1, y: top + 1.5, width: width - names - 2, height: height - 3, rx: 5 };
  const text = { x: middles[3], y: top + height / 2 + 4.5, "data-mine": mine };
  return [el("rect.cg-box", { ...place, "data-mine": mine }), el("text.cg-root", text, `÷ ${show(root)}`)];
}

/** One channel: its name, its curves and its loudness before and after. */
function channel(c, { state, change, width }, result, limits, { left, right, middles }) {
  const y = TOP + (c + 0.5) * ROW;
  const moved = result.moved[c] >= SEEN;
  const mark = { "data-chosen": c === state.channel, "data-moved": moved, onclick: () => change({ channel: c }) };
  const text = (kind, column, words) => el(`text.${kind}`, { x: middles[column], y: y + 4.5 }, words);
  return el(
    "g.cg-row",
    mark,
    el("rect.cg-hit", { x: 0, y: TOP + c * ROW, width, height: ROW }),
    text("cg-name", 0, c + 1),
    [left, right].map(([x1, x2]) => el("line.cg-zero", { x1, x2, y1: y, y2: y })),
    el("path.cg-in", { d: curve(result.input[c], left, y, limits[0]) }),
    el("path.cg-ghost", { d: moved ? curve(result.before[c], right, y, limits[1]) : "" }),
    el("path.cg-out", { d: curve(result.output[c], right, y, limits[1]) }),
    text("cg-loud", 1, show(result.loud[c])),
    text("cg-levelled", 5, show(result.levelled[c])),
  );
}

function picture(context, result) {
  const { state, width } = context;
  const place = columns(width);
  const count = state.values.length;
  const size = count / state.groups;
  const mine = g => Math.floor(state.channel / size) === g && state.gain !== 1;
  const limits = [furthest(state.values), furthest(result.before)];
  return drawing(
    context,
    { height: TOP + ROW * count + 2, label: aria(state, result), class: "cg-drawing" },
    place.heads.map((head, i) => el("text.cg-head", { x: place.middles[i], y: 13 }, head)),
    result.roots.map((root, g) => box(root, TOP + g * size * ROW, size * ROW, mine(g), place, width)),
    range(count).map(c => channel(c, context, result, limits, place)),
  );
}

/** The numbers of the drawing, for who can't see it. */
function aria({ groups }, { loud, levelled }) {
  const list = values => values.map(value => show(value)).join(", ");
  return `${loud.length} channels in ${plural(groups, "group")}. Loudness in: ${list(loud)}; out: ${list(levelled)}.`;
}

function view(state, context) {
  const result = compute(state);
  const count = state.values.length;
  const options = divisors(count).map(groups => [groups, groups]);
  const which = { trait: "channel", name: "channel", min: 1, max: count, value: state.channel + 1, text: String };
  const loudness = { trait: "gain", name: "its loudness", min: 0.2, max: 3, step: 0.1 };
  return [
    controls(
      context,
      {},
      el("span.cg-label", {}, el("span.fig-math", {}, "G"), " groups"),
      choice(context, { trait: "groups", label: "number of groups", options }),
    ),
    picture(context, result),
    sliders(
      slider(context, which, number => context.change({ channel: number - 1 })),
      slider(context, { ...loudness, text: x => `× ${show(x, 1)}` }),
    ),
    words(sentence(state, result), remark(state)),
  ];
}

export default figure({ view });
