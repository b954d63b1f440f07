// A row of stripes.

const HEIGHT = 60;

/** The left edge of each stripe, as a share of the width. */
export const edges = stripes => Array.from({ length: stripes }, (_, i) => i / stripes);

function view({ stripes }, context) {
  const { width } = context;
  const spoken = `${plural(stripes, "stripe")}, ${plural(stripes - 1, "change")} of sign.`;
  const box = { y: 0, width: width / stripes, height: HEIGHT };
  const drawn = edges(stripes).map((left, i) => el(i % 2 ? "rect.zb-light" : "rect.zb-dark", { x: left * width, ...box }));
  return [
    controls(context, {}),
    el("svg", { role: "img", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-label": spoken }, drawn),
    words(`${plural(stripes, "stripe")}: the sign changes ${stripes - 1} times.`),
    sliders(slider(context, { trait: "stripes", name: "stripes", min: 1, max: 12, text: String })),
  ];
}

export default figure({ view });
