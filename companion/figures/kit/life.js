// A figure's life: from the state to the page, and back. Python puts `FIGURE`, its name and traits, in front of all this.

/**
 * What a figure's module exports by default.
 *
 * `view(state, context)` returns the figure as a list of elements. `shape(state, context)`, if there is one, returns
 * numbers on which the drawing depends: they glide to where they belong, and the view finds them as `context.shape`.
 *
 * `context` has: `state`; `width` in pixels; `change(traits, { move, glide })`, which writes to the model; `reset()`;
 * `last`, the `move` of the latest change, null after a reset, or when Python moved something; `held`, what a drag in
 * progress has grabbed, else null; and `widest(texts, font)` in pixels.
 */
function figure({ view, shape = () => null }) {
  let start; // what "reset" goes back to
  const read = model => Object.fromEntries(FIGURE.traits.map(trait => [trait, model.get(trait)]));
  return () => ({
    initialize({ model }) {
      start = read(model);
    },
    render({ model, el: place }) {
      place.setAttribute("role", "group");
      place.setAttribute("aria-label", model.get("alt"));
      return live({ view, shape, read: () => read(model), model, place, start });
    },
  });
}

/** Draw a figure now and at each change, until the function that this returns is called. */
function live({ view, shape, read, model, place, start }) {
  const root = place.appendChild(document.createElement("div"));
  root.className = `fig ${FIGURE.name}`;
  let mine = false; // whether this view is changing the model
  const context = { last: null, held: null, widest: measure(root), reset: () => context.change(start) };
  const show = glider(root, now => {
    context.shape = now;
    patch(root, [view(context.state, context)]);
    for (const svg of root.querySelectorAll("svg")) keepInside(svg);
  });
  const draw = glide => {
    Object.assign(context, { state: read(), width: root.clientWidth || 720 });
    show(shape(context.state, context), glide);
  };
  context.change = (values, { move = null, glide = true } = {}) => {
    mine = true;
    for (const [trait, value] of Object.entries(values)) model.set(trait, value);
    model.save_changes();
    mine = false;
    context.last = move;
    draw(glide);
  };
  context.hold = held => {
    const ended = context.held && !held;
    context.held = held;
    if (ended) draw(true);
  };
  const follow = () => {
    if (mine) return;
    context.last = null; // Python, or another view of this figure
    draw(true);
  };
  const again = () => root.clientWidth && draw(false);
  const watch = new ResizeObserver(again);
  model.on("change", follow);
  document.fonts.addEventListener("loadingdone", again);
  draw(false);
  watch.observe(root);
  root.dataset.drawn = "true";
  return () => {
    model.off("change", follow);
    document.fonts.removeEventListener("loadingdone", again);
    watch.disconnect();
  };
}

/** A function that paints numbers at once, or lets them glide to where they belong, from what was painted last. */
function glider(root, paint) {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let shown = null;
  let frame = 0;
  return (to, glide) => {
    cancelAnimationFrame(frame);
    const [from, began] = [shown, performance.now()];
    const jump = from === null || !glide || still.matches;
    const tick = time => {
      const share = jump ? 1 : clamp((time - began) / 350, 0, 1);
      shown = share < 1 ? mix(from, to, 1 - (1 - share) ** 3) : to;
      paint(shown);
      if (share < 1 && root.isConnected) frame = requestAnimationFrame(tick);
    };
    tick(began);
  };
}

/** A function that says how wide the widest of some texts is, in pixels, in the font of `root`. */
function measure(root) {
  const pen = document.createElement("canvas").getContext("2d");
  return (texts, font = "12px") => {
    pen.font = `${font} ${getComputedStyle(root).fontFamily}`;
    return Math.max(0, ...texts.map(text => pen.measureText(text).width));
  };
}
