// A batch of small colour images: change the light of one, and see whose output moves in which scheme.
//
// 1 the arithmetic, 2 the words, 3 the figure. Images and outputs are nested arrays [image][channel][position].

const SCHEMES = ["batch", "layer", "instance"];
const SEEN = 0.005; // a smaller move would be written as 0.00

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** Mean 0 and variance 1 for each group of `examples` × `channels` × all positions, as companion.standardize. */
function standardize(x, examples, channels, eps) {
  const out = x.map(image => image.map(() => null));
  for (let n = 0; n < x.length; n += examples) {
    for (let c = 0; c < x[0].length; c += channels) {
      const group = x.slice(n, n + examples).flatMap(image => image.slice(c, c + channels).flat());
      const shared = moments(group);
      for (let i = n; i < n + examples; i++) {
        for (let j = c; j < c + channels; j++) out[i][j] = x[i][j].map(value => normalized(value, shared, eps));
      }
    }
  }
  return out;
}

const schemes = (x, eps) => ({
  batch: standardize(x, x.length, 1, eps),
  layer: standardize(x, 1, x[0].length, eps),
  instance: standardize(x, 1, 1, eps),
});

/** How far an image's output is from another: root of the mean square over channels and positions. */
function distance(a, b) {
  const squares = a.flatMap((channel, c) => channel.map((value, p) => (value - b[c][p]) ** 2));
  return Math.sqrt(sum(squares) / squares.length);
}

/** What goes in, what comes out of each scheme, and how far each image's output moved from that of the plain images. */
export function compute({ images, chosen, contrast, brightness, tint, eps }) {
  const plain = images.map(image => image.map(channel => channel.flat()));
  const gains = [1 + tint, 1, 1 - tint].map(share => contrast * share);
  const input = plain.map((image, n) =>
    n === chosen ? image.map((channel, c) => channel.map(value => gains[c] * value + brightness)) : image,
  );
  const [before, outputs] = [schemes(plain, eps), schemes(input, eps)];
  const moved = Object.fromEntries(
    SCHEMES.map(name => [name, outputs[name].map((image, n) => distance(image, before[name][n]))]),
  );
  return { input, outputs, moved };
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** Whose outputs moved, as a sentence. */
export function sentence(state, { moved }) {
  const { chosen, contrast, brightness, tint } = state;
  if (contrast === 1 && brightness === 0 && tint === 0)
    return `Change the light of image ${chosen + 1}: whose output moves?`;
  const count = name => {
    const seen = moved[name].filter(distance => distance >= SEEN).length;
    return seen === 0 ? "none" : seen === moved[name].length ? `all ${seen}` : String(seen);
  };
  return (
    `Image ${chosen + 1} changed. Outputs that moved: batch norm ${count("batch")}, layer norm ${count("layer")}, ` +
    `instance norm ${count("instance")}.`
  );
}

/** Why. */
export function remark({ contrast, brightness, tint }) {
  if (tint !== 0)
    return "A tint changes one channel against another. Layer norm keeps that; instance norm knows nothing of other channels.";
  if (contrast === 1 && brightness === 0)
    return "Grey is the mean of those that share; lighter is above, darker below.";
  return "All of the image changed alike: its own mean and deviation take that off, a mean shared with its mates does not.";
}

// -------------------------------------------------------------------------------------------------- 3 the figure

const ROWS = {
  input: ["in", "the batch"],
  batch: ["batch norm", "each channel, over all images"],
  layer: ["layer norm", "each image, over all channels"],
  instance: ["instance norm", "each image, each channel"],
};
const SPREAD = 5; // outputs from −2.5 to 2.5 have a shade of their own

/** Paint an image on a canvas, one pixel a position; `level` makes a value a share of full light. */
function paint(canvas, image, level) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  for (let p = 0; p < image[0].length; p++) {
    image.forEach((channel, c) => {
      pixels.data[4 * p + c] = 255 * clamp(level(channel[p]), 0, 1);
    });
    pixels.data[4 * p + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

/** An image with what there is to say of it: `name` for a screen reader, `note` below it. */
function tile(image, pixels, level, { moved, name, note }) {
  const drawn = canvas => paint(canvas, pixels, level);
  const size = { width: image[0][0].length, height: image[0].length };
  const canvas = el("canvas", { ...size, role: "img", "aria-label": name, drawn });
  return el("div.ct-tile", { "data-moved": moved }, canvas, el("div.ct-note", {}, note));
}

/** The row of what goes in, or of what comes out of one scheme. */
function row(name, { images, chosen }, { input, outputs, moved }) {
  const [title, shared] = ROWS[name];
  const tiles = images.map((image, n) => {
    if (name === "input") {
      const changed = n === chosen;
      const label = `image ${n + 1}${changed ? ", the one that changes" : ""}`;
      return tile(image, input[n], value => value, { moved: changed, name: label, note: changed ? "changes" : "" });
    }
    const far = moved[name][n];
    const label = `image ${n + 1} after ${title}, moved by ${show(far)}`;
    const note = far >= SEEN ? `moved ${show(far)}` : "still";
    return tile(image, outputs[name][n], value => 0.5 + value / SPREAD, { moved: far >= SEEN, name: label, note });
  });
  return [
    el(`div.ct-head.ct-${name}`, {}, el("strong", {}, title), el("span", {}, shared)),
    el("div.ct-row", { style: { "--count": images.length } }, tiles),
  ];
}

function view(state, context) {
  const result = compute(state);
  const options = state.images.map((_, n) => [n, `image ${n + 1}`]);
  const contrast = { trait: "contrast", symbol: "a", name: "contrast", min: 0.2, max: 2, step: 0.05 };
  const brightness = { trait: "brightness", symbol: "b", name: "brightness", min: -0.5, max: 0.5, step: 0.05 };
  const tint = { trait: "tint", symbol: "t", name: "tint", min: -0.8, max: 0.8, step: 0.05 };
  return [
    controls(context, {}, choice(context, { trait: "chosen", label: "image that changes", options })),
    el(
      "div.fig-sliders.ct-sliders",
      {},
      slider(context, { ...contrast, text: x => `× ${show(x)}` }),
      slider(context, { ...brightness, text: signed }),
      slider(context, { ...tint, text: signed }),
    ),
    el(
      "div.ct-stage",
      {},
      Object.keys(ROWS).map(name => row(name, state, result)),
    ),
    words(sentence(state, result), remark(state)),
  ];
}

export default figure({ view });
