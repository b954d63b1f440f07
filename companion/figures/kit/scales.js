// Scales, axes, lines and colours of a drawing.

/** From values between `low` and `high` to pixels between `from` and `to`; also, with places changed, back. */
const scale = ([low, high], [from, to], by = x => x) => {
  const step = (to - from) / (by(high) - by(low));
  return value => from + (by(value) - by(low)) * step;
};

/** Round numbers from `low` to `high`, seven at most. */
function ticks(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 6));
  const step = [1, 2, 5, 10].map(size => size * power).find(size => (high - low) / size <= 6);
  const first = Math.ceil(low / step - 1e-9);
  return range(Math.floor(high / step + 1e-9) - first + 1).map(i => Number(((first + i) * step).toPrecision(12)));
}

/** Pixels that numbers on the left of a panel need, in whatever font the page has. */
const room = ({ widest }, numbers, least = 30, font = "11px") => Math.max(least, widest(numbers.map(plain), font) + 9);

/** A line through points of pixels, as a path's `d`. */
const line = points => (points.length ? `M${points.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L")}` : "");

/** A colour between −limit (blue) and limit (red), paper at 0. */
function heat(value, limit) {
  const share = Math.round(100 * clamp(Math.abs(value) / limit, 0, 1));
  return `color-mix(in srgb, var(--${value < 0 ? "low" : "high"}) ${share}%, var(--middle))`;
}

/** The drawing. With a `label`, it is read out as one picture; without one, each of its parts for itself. */
function drawing({ width }, { height, label, ...attributes }, ...children) {
  const size = { width, height, viewBox: `0 0 ${width} ${height}`, role: label && "img", "aria-label": label };
  return el("svg", { ...size, ...attributes }, ...children);
}

/** A box with a scale across (`x`, left to right) and one upwards (`y`), and what stands around it. */
function panel({ left, right, top, bottom, x: across, y: up, by }) {
  const [x, y] = [scale(across, [left, right]), scale(up, [bottom, top], by)];
  /** Lines across at `values`, with their numbers on the left. */
  const row = text => value => [
    el("path.fig-grid", { d: `M${left} ${y(value)}H${right}` }),
    el("text.fig-tick.fig-end", { x: left - 6, y: y(value) + 4 }, text(value)),
  ];
  const column = text => value => el("text.fig-tick", { x: x(value), y: bottom + 16 }, text(value));
  return {
    ...{ left, right, top, bottom, x, y },
    title: (text, from = left, above = 10) => el("text.fig-title", { x: from, y: top - above }, text),
    rows: (values = ticks(...up), text = plain) => values.map(row(text)),
    columns: (values = ticks(...across), text = plain) => values.map(column(text)),
  };
}

/** A row of signs with their meaning; a sign is drawn in 26 × 14 pixels. */
const legend = (...entries) =>
  el(
    "p.fig-legend",
    { "aria-hidden": "true" },
    entries.map(([sign, text]) => el("span", {}, sign && drawing({ width: 26 }, { height: 14 }, sign), text)),
  );

/** Shift texts that stand out of a drawing at a side, and make those smaller that are wider than all of it. */
function keepInside(svg) {
  const texts = [...svg.querySelectorAll("text")];
  for (const text of texts) for (const name of ["translate", "font-size"]) text.style.removeProperty(name);
  const edge = svg.getBoundingClientRect();
  const boxes = () => texts.map(text => text.getBoundingClientRect());
  boxes().forEach(({ width }, i) => {
    if (width <= edge.width) return;
    const size = Number.parseFloat(getComputedStyle(texts[i]).fontSize);
    texts[i].style.setProperty("font-size", `${(size * (edge.width - 1)) / width}px`);
  });
  boxes().forEach(({ left, right }, i) => {
    const shift = Math.max(0, edge.left - left) - Math.max(0, right - edge.right);
    if (shift) texts[i].style.setProperty("translate", `${shift}px`);
  });
}
