// A row of stripes.

const HEIGHT = 60;

/** The left edge of each stripe, as a share of the width. */
export const edges = stripes => Array.from({ length: stripes }, (_, i) => i / stripes);

function build({ root, change }) {
  const move = slider(
    add(root, "div", { class: "ex-sliders" }),
    { trait: "stripes", name: "stripes", min: 1, max: 12, text: String },
    stripes => change({ stripes }),
  );
  const svg = add(root, "svg", { role: "img", height: HEIGHT });
  const say = words(root);

  return ({ stripes }, { width }) => {
    move(stripes);
    const changes = plural(stripes - 1, "change");
    set(svg, { width, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-label": `${plural(stripes, "stripe")}, ${changes} of sign.` });
    svg.replaceChildren();
    edges(stripes).forEach((left, i) => {
      const box = { x: left * width, y: 0, width: width / stripes, height: HEIGHT };
      add(svg, "rect", { ...box, class: i % 2 ? "zb-light" : "zb-dark" });
    });
    say(`${plural(stripes, "stripe")}: the sign changes ${stripes - 1} times.`);
  };
}

export default explorable("zebra", ["stripes"], build);
