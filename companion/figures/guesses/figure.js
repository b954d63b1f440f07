// Counts what the chapter's questions have kept in this browser.

function found(key) {
  try {
    return JSON.parse(localStorage.getItem(`companion-guess ${key}`));
  } catch {
    return null;
  }
}

/** Draw again when a question of this page, or of another window, was answered. */
function follow(node, context) {
  if (node.follows) return;
  node.follows = true;
  const again = () => (node.isConnected ? context.change({}) : ["companion-guess", "storage"].forEach(leave));
  const leave = event => removeEventListener(event, again);
  for (const event of ["companion-guess", "storage"]) addEventListener(event, again);
}

export default figure({
  view({ questions }, context) {
    const guesses = questions.map(found);
    const given = guesses.filter(Boolean);
    const right = given.filter(guess => guess.right);
    const forget = () => {
      try {
        for (const key of questions) localStorage.removeItem(`companion-guess ${key}`);
      } catch {} // without storage, nothing is kept and nothing is to forget
      dispatchEvent(new Event("companion-guess"));
      context.change({});
    };
    const dots = guesses.map(guess => el("span.guesses-dot", { "data-guess": guess ? String(guess.right) : "none" }));
    return [
      el("div.guesses-row", { "aria-hidden": "true", drawn: node => follow(node, context) }, dots),
      words(
        given.length
          ? `You guessed ${given.length} of this chapter's ${plural(questions.length, "question")}, ${right.length} of them right.`
          : `You have guessed none of this chapter's ${plural(questions.length, "question")} yet.`,
        "Kept in this browser only.",
      ),
      controls({ reset: forget }, {}),
    ];
  },
});
