// A guess is committed by a choice, or by a button beside a scale; what opens then stands beside it.

const kept = ({ key }) => `companion-guess ${key}`;

/** Keep a guess, or forget it, in this browser only; without storage, the page goes on without. */
function keep(state, guess) {
  if (!state.key) return;
  try {
    if (guess === null) localStorage.removeItem(kept(state));
    else localStorage.setItem(kept(state), JSON.stringify({ guess, right: isRight(state, guess) }));
  } catch {}
  dispatchEvent(new Event("companion-guess"));
}

/** The guess that this browser has kept, as a state's traits; else none. */
function recalled(state) {
  try {
    const { guess } = JSON.parse(localStorage.getItem(kept(state)));
    const fits = state.options.length ? guess in state.options : guess >= state.scale[0] && guess <= state.scale[1];
    return state.key && fits ? { guess: [guess], committed: true } : {};
  } catch {
    return {};
  }
}

function isRight({ options, right }, guess) {
  return options.length ? right.includes(guess) : guess >= right[0] && guess <= right[1];
}

const places = ({ logarithmic }) => (logarithmic ? [Math.log10, x => 10 ** x] : [x => x, x => x]);
const short = value => plain(Number(value.toPrecision(value < 1000 ? 2 : 3)));

/** The scale of a guess with the measured values and, before it is committed, what is about to be guessed. */
function track(context, guess) {
  const { scale: ends, logarithmic, measured, committed } = context.state;
  const [to] = places(context.state);
  const across = scale(ends.map(to), [12, context.width - 12]);
  const at = value => across(to(value));
  const marks = logarithmic
    ? range(Math.floor(to(ends[1])) - Math.ceil(to(ends[0])) + 1).map(i => 10 ** (Math.ceil(to(ends[0])) + i))
    : ticks(...ends);
  const shown = committed ? measured : [];
  const label = `A scale from ${short(ends[0])} to ${short(ends[1])}, your guess${committed ? " and what was measured" : ""}`;
  return drawing(
    context,
    { height: 62, label },
    el("path.fig-base", { d: `M12 34H${context.width - 12}` }),
    marks.map(value => [
      el("path.fig-base", { d: `M${at(value)} 34v5` }),
      el("text.fig-tick", { x: at(value), y: 54 }, logarithmic ? `10${raised(Math.round(to(value)))}` : plain(value)),
    ]),
    shown.map(value => el("circle.prediction-measured", { cx: at(value), cy: 34, r: 5 })),
    el("path.fig-you", { d: `M${at(guess)} 30l-7 -12h14z` }),
  );
}

/** What the reader sets: one of some buttons, or a place on the scale and a button that commits it. */
function asked(context, commit) {
  const { options, committed, scale: ends, quantity, guess } = context.state;
  const again = {
    ...context,
    reset() {
      keep(context.state, null);
      context.change({ guess: [], committed: false });
    },
  };
  if (options.length) {
    const made = choice(
      context,
      { trait: "guess", label: "Your guess", options: options.map((text, i) => [i, text]), value: guess[0] },
      commit,
    );
    return controls(again, {}, made);
  }
  const [to, back] = places(context.state);
  const [min, max] = ends.map(to);
  const settings = { trait: "guess", name: quantity, min, max, step: (max - min) / 100, value: to(guess[0]) };
  const set = place => context.change({ guess: [clamp(back(place), ...ends)] });
  return [
    sliders(slider(context, { ...settings, text: place => short(back(place)) }, set)),
    controls(again, {}, !committed && button("that is my guess", () => commit(guess[0]), { key: "commit" })),
  ];
}

function said({ options, right, measured, quantity }, guess) {
  const verdict = isRight({ options, right }, guess) ? "Yes:" : "No:";
  if (options.length) return `${verdict} ${right.map(i => options[i]).join("; ")}`;
  const [low, high] = [Math.min(...measured), Math.max(...measured)].map(short);
  return `You said ${short(guess)}; ${quantity}: ${low === high ? low : `${low} to ${high}`}`;
}

export default figure({
  view({ ...state }, context) {
    if (!state.committed) Object.assign(state, recalled(state));
    const [to, back] = places(state);
    const middle = back((to(state.scale[0]) + to(state.scale[1])) / 2);
    if (!state.options.length && !state.guess.length) state.guess = [middle];
    const here = { ...context, state };
    const commit = guess => {
      keep(state, guess);
      context.change({ guess: [guess], committed: true });
    };
    const guess = state.guess[0];
    const wait = state.options.length ? "Choose one, and the answer opens." : "Commit a guess, and the answer opens.";
    return [
      el(
        "div.prediction-question",
        { "data-committed": String(state.committed) },
        asked(here, commit),
        !state.options.length && track(here, guess),
      ),
      state.committed ? words(said(state, guess), state.answer) : words(wait),
    ];
  },
});
