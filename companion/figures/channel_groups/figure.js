// One image's channels under group norm: choose the number of groups, turn one channel up, and see who moves.
//
// 1 the arithmetic, 2 the words, 3 the figure. `state` holds the traits of the Python class ChannelGroups;
// channels are arrays [channel][position].

const TRAITS = ["values", "groups", "channel", "gain", "eps"];
const SEEN = 0.005; // a smaller move would be written as 0.00

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;
const deviation = values => {
  const m = mean(values);
  return Math.sqrt(mean(values.map(value => (value - m) ** 2)));
};

/** Mean 0 and deviation 1 for each of `groups` groups of channels; also the number that each group is divided by. */
function groupNorm(x, groups, eps) {
  const size = x.length / groups;
  const roots = [];
  const out = [];
  for (let first = 0; first < x.length; first += size) {
    const group = x.slice(first, first + size);
    const m = mean(group.flat());
    const root = Math.sqrt(deviation(group.flat()) ** 2 + eps) || 1; // all equal and no ε: nothing is left to divide
    roots.push(root);
    out.push(...group.map(channel => channel.map(value => (value - m) / root)));
  }
  return { out, roots };
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
    return groups === 1 ? `All ${size} channels share one mean and one deviation.`
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
    return gain === 1 ? "That is instance norm: all channels come out equally loud."
      : "A channel on its own is divided by its own loudness, which takes the gain off again.";
  }
  if (gain !== 1) return "Its group is divided by another number now. Other groups know nothing of it.";
  return groups === 1 ? "That is layer norm: a loud channel stays loud, a quiet one quiet."
    : "Within a group, a loud channel stays loud. Between groups, loudness is levelled.";
}

// -------------------------------------------------------------------------------------------------- 3 the figure

const ROW = 24;
const TOP = 22; // the heads of the columns

/** The curve of a channel, `limit` reaching half a row up; a louder one runs into its neighbours' rows. */
function curve(row, left, width, middle, limit) {
  const reach = 0.5 * ROW - 1.5;
  return "M" + row.map((value, p) => {
    const x = left + (width * p) / (row.length - 1);
    return `${x.toFixed(1)} ${(middle - (reach * value) / limit).toFixed(1)}`;
  }).join("L");
}

const furthest = rows => Math.max(1e-9, ...rows.flat().map(Math.abs));

function build({ root, change, reset }) {
  const bar = add(root, "div", { class: "ex-bar" });
  const label = add(bar, "span", { class: "cg-label" });
  add(label, "span", { class: "ex-math" }, "G");
  add(label, "span", {}, " groups");
  const picker = add(bar, "div");
  button(bar, {}, "reset", reset);
  const svg = add(root, "svg", { class: "cg-drawing", role: "img" });
  const sliders = add(root, "div", { class: "ex-sliders" });
  const pick = slider(sliders, {
    trait: "channel", name: "channel", min: 1, max: 2, text: x => show(x, 0),
  }, value => change({ channel: value - 1 }));
  const turn = slider(sliders, {
    trait: "gain", name: "its loudness", min: 0.2, max: 3, step: 0.1, text: x => `× ${show(x, 1)}`,
  }, value => change({ gain: value }));
  const say = words(root);
  let press = null;
  let rows = null;
  let count = 0;

  /** Elements for another number of channels. */
  function prepare(channels) {
    if (channels === count) return;
    count = channels;
    const divisors = Array.from({ length: count }, (_, i) => i + 1).filter(groups => count % groups === 0);
    picker.replaceChildren();
    press = choice(picker, "number of groups", Object.fromEntries(divisors.map(groups => [groups, groups])),
      groups => change({ groups: Number(groups) }));
    svg.replaceChildren();
    const heads = ["channel", "s.d.", "in", "", "out", "s.d."].map(text => add(svg, "text", { class: "cg-head", y: 13 }, text));
    const boxes = add(svg, "g");
    rows = { heads, boxes, each: Array.from({ length: count }, (_, c) => {
      const row = add(svg, "g", { class: "cg-row" });
      const back = add(row, "rect", { class: "cg-hit", x: 0, height: ROW });
      row.addEventListener("click", () => change({ channel: c }));
      const name = add(row, "text", { class: "cg-name" }, c + 1);
      const zeros = [0, 1].map(() => add(row, "line", { class: "cg-zero" }));
      const input = add(row, "path", { class: "cg-in" });
      const ghost = add(row, "path", { class: "cg-ghost" });
      const output = add(row, "path", { class: "cg-out" });
      return { row, back, name, zeros, input, ghost, output,
        loud: add(row, "text", { class: "cg-loud" }), levelled: add(row, "text", { class: "cg-levelled" }) };
    }) };
  }

  return (now, { width }) => {
    const result = compute(now);
    prepare(now.values.length);
    press(now.groups);
    pick(now.channel + 1, now.values.length);
    turn(now.gain);

    const narrow = width < 480;
    const [names, number, middle] = narrow ? [20, 34, 50] : [58, 48, 96];
    const wave = (width - names - 2 * number - middle - 4) / 2;
    const left = names + number;
    const right = left + wave + middle;
    const limits = [furthest(now.values), furthest(result.before)];
    const height = TOP + ROW * count + 2;
    set(svg, { width, height, viewBox: `0 0 ${width} ${height}`, "aria-label": aria(now, result) });
    const ends = [names + number / 2, right + wave + number / 2 + 2];
    const places = [names / 2, ends[0], left + wave / 2, left + wave + middle / 2, right + wave / 2, ends[1]];
    rows.heads.forEach((head, i) => set(head, { x: places[i] }));
    rows.heads[0].textContent = narrow ? "" : "channel";

    const size = count / now.groups;
    rows.boxes.replaceChildren();
    result.roots.forEach((divisor, g) => {
      const y = TOP + g * size * ROW;
      const mine = Math.floor(now.channel / size) === g && now.gain !== 1;
      add(rows.boxes, "rect", { x: names + 1, y: y + 1.5, width: width - names - 2, height: size * ROW - 3, rx: 5,
        class: "cg-box", "data-mine": String(mine) });
      add(rows.boxes, "text", { x: places[3], y: y + (size * ROW) / 2 + 4.5, class: "cg-root",
        "data-mine": String(mine) }, `÷ ${show(divisor)}`);
    });

    rows.each.forEach((row, c) => {
      const y = TOP + (c + 0.5) * ROW;
      const moved = result.moved[c] >= SEEN;
      set(row.row, { "data-chosen": String(c === now.channel), "data-moved": String(moved) });
      set(row.back, { y: TOP + c * ROW, width });
      set(row.name, { x: names / 2, y: y + 4.5 });
      set(row.loud, { x: ends[0], y: y + 4.5 });
      set(row.levelled, { x: ends[1], y: y + 4.5 });
      row.loud.textContent = show(result.loud[c]);
      row.levelled.textContent = show(result.levelled[c]);
      row.zeros.forEach((zero, side) => {
        const start = side ? right : left;
        set(zero, { x1: start, x2: start + wave, y1: y, y2: y });
      });
      set(row.input, { d: curve(result.input[c], left, wave, y, limits[0]) });
      set(row.ghost, { d: moved ? curve(result.before[c], right, wave, y, limits[1]) : "" });
      set(row.output, { d: curve(result.output[c], right, wave, y, limits[1]) });
    });
    say(sentence(now, result), remark(now));
  };
}

/** The numbers of the drawing, for who can't see it. */
function aria({ groups }, { loud, levelled }) {
  const list = values => values.map(value => show(value)).join(", ");
  return `${loud.length} channels in ${plural(groups, "group")}. Loudness in: ${list(loud)}; out: ${list(levelled)}.`;
}

export default explorable("channel_groups", TRAITS, build);
