// A batch of small colour images: change the light of one, and see whose output moves in which scheme.
//
// 1 the arithmetic, 2 the words, 3 the figure. `state` holds the traits of the Python class Contrast;
// images and outputs are nested arrays [image][channel][position].

const TRAITS = ["images", "chosen", "contrast", "brightness", "tint", "eps"];
const SCHEMES = ["batch", "layer", "instance"];
const SEEN = 0.005; // a smaller move would be written as 0.00

// ---------------------------------------------------------------------------------------------- 1 the arithmetic

/** Mean 0 and variance 1 for each group of `examples` × `channels` × all positions, as companion.standardize. */
function standardize(x, examples, channels, eps) {
  const out = x.map(image => image.map(() => null));
  for (let n = 0; n < x.length; n += examples) {
    for (let c = 0; c < x[0].length; c += channels) {
      const group = x.slice(n, n + examples).flatMap(image => image.slice(c, c + channels).flat());
      const m = group.reduce((sum, value) => sum + value, 0) / group.length;
      const variance = group.reduce((sum, value) => sum + (value - m) ** 2, 0) / group.length;
      const root = Math.sqrt(variance + eps) || 1; // all values equal and no ε: nothing is left to divide
      for (let i = n; i < n + examples; i++) {
        for (let j = c; j < c + channels; j++) out[i][j] = x[i][j].map(value => (value - m) / root);
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
  return Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / squares.length);
}

/** What goes in, what comes out of each scheme, and how far each image's output moved from that of the plain images. */
export function compute({ images, chosen, contrast, brightness, tint, eps }) {
  const plain = images.map(image => image.map(channel => channel.flat()));
  const gains = [1 + tint, 1, 1 - tint].map(share => contrast * share);
  const input = plain.map((image, n) =>
    n === chosen ? image.map((channel, c) => channel.map(value => gains[c] * value + brightness)) : image);
  const [before, outputs] = [schemes(plain, eps), schemes(input, eps)];
  const moved = Object.fromEntries(
    SCHEMES.map(name => [name, outputs[name].map((image, n) => distance(image, before[name][n]))]));
  return { input, outputs, moved };
}

// --------------------------------------------------------------------------------------------------- 2 the words

/** Whose outputs moved, as a sentence. */
export function sentence(state, { moved }) {
  const { chosen, contrast, brightness, tint } = state;
  if (contrast === 1 && brightness === 0 && tint === 0) return `Change the light of image ${chosen + 1}: whose output moves?`;
  const count = name => {
    const seen = moved[name].filter(distance => distance >= SEEN).length;
    return seen === 0 ? "none" : seen === moved[name].length ? `all ${seen}` : String(seen);
  };
  return `Image ${chosen + 1} changed. Outputs that moved: batch norm ${count("batch")}, layer norm ${count("layer")}, `
    + `instance norm ${count("instance")}.`;
}

/** Why. */
export function remark({ contrast, brightness, tint }) {
  if (tint !== 0) return "A tint changes one channel against another. Layer norm keeps that; instance norm knows nothing of other channels.";
  if (contrast === 1 && brightness === 0) return "Grey is the mean of those that share; lighter is above, darker below.";
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
    image.forEach((channel, c) => { pixels.data[4 * p + c] = 255 * clamp(level(channel[p]), 0, 1); });
    pixels.data[4 * p + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

function build({ root, change, state, reset }) {
  const bar = add(root, "div", { class: "ex-bar" });
  const picker = add(bar, "div");
  button(bar, {}, "reset", reset);
  const sliders = add(root, "div", { class: "ex-sliders ct-sliders" });
  const knob = settings => {
    const move = slider(sliders, settings, value => change({ [settings.trait]: value }));
    return now => move(now[settings.trait]);
  };
  const knobs = [
    knob({ trait: "contrast", symbol: "a", name: "contrast", min: 0.2, max: 2, step: 0.05, text: x => `× ${show(x)}` }),
    knob({ trait: "brightness", symbol: "b", name: "brightness", min: -0.5, max: 0.5, step: 0.05, text: signed }),
    knob({ trait: "tint", symbol: "t", name: "tint", min: -0.8, max: 0.8, step: 0.05, text: signed }),
  ];
  const stage = add(root, "div", { class: "ct-stage" });
  const say = words(root);
  let press = null;
  let tiles = null;
  let shape = "";

  /** Elements for another number or size of images. */
  function prepare(images) {
    const size = [images.length, images[0][0].length, images[0][0][0].length].join();
    if (size === shape) return;
    shape = size;
    picker.replaceChildren();
    stage.replaceChildren();
    const options = Object.fromEntries(images.map((_, n) => [n, `image ${n + 1}`]));
    press = choice(picker, "image that changes", options, n => change({ chosen: Number(n) }));
    tiles = Object.fromEntries(Object.entries(ROWS).map(([name, [title, shared]]) => {
      const head = add(stage, "div", { class: `ct-head ct-${name}` });
      add(head, "strong", {}, title);
      add(head, "span", {}, shared);
      const row = add(stage, "div", { class: "ct-row", style: `--count: ${images.length}` });
      return [name, images.map(image => {
        const tile = add(row, "div", { class: "ct-tile" });
        const canvas = add(tile, "canvas", { width: image[0][0].length, height: image[0].length, role: "img" });
        return { tile, canvas, note: add(tile, "div", { class: "ct-note" }) };
      })];
    }));
  }

  return now => {
    const result = compute(now);
    prepare(now.images);
    press(now.chosen);
    for (const turn of knobs) turn(now);
    tiles.input.forEach(({ tile, canvas, note }, n) => {
      const changed = n === now.chosen;
      paint(canvas, result.input[n], value => value);
      set(canvas, { "aria-label": `image ${n + 1}${changed ? ", the one that changes" : ""}` });
      set(tile, { "data-moved": String(changed) });
      note.textContent = changed ? "changes" : "";
    });
    for (const name of SCHEMES) {
      tiles[name].forEach(({ tile, canvas, note }, n) => {
        const moved = result.moved[name][n];
        paint(canvas, result.outputs[name][n], value => 0.5 + value / SPREAD);
        set(canvas, { "aria-label": `image ${n + 1} after ${ROWS[name][0]}, moved by ${show(moved)}` });
        set(tile, { "data-moved": String(moved >= SEEN) });
        note.textContent = moved >= SEEN ? `moved ${show(moved)}` : "still";
      });
    }
    say(sentence(now, result), remark(now));
  };
}

export default explorable("contrast", TRAITS, build);
