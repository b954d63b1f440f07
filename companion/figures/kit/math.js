// Numbers: written as words, drawn at random from a seed, and summed up.

const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
const range = count => Array.from({ length: count }, (_, i) => i);
const sum = values => values.reduce((total, value) => total + value, 0);

/** A number with `digits` decimals and a real minus sign; never "−0.00". */
const show = (x, digits = 2) => {
  const text = x.toFixed(digits);
  return (Number(text) === 0 ? (0).toFixed(digits) : text).replace("-", "−");
};
/** The same with a plus sign in front of what is above zero. */
const signed = (x, digits = 2) => (Number(x.toFixed(digits)) > 0 ? "+" : "") + show(x, digits);
/** A number as short as it is, with a real minus sign. */
const plain = x => String(x).replace("-", "−");
const raised = power => [...plain(power)].map(sign => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] ?? "⁻").join("");
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Mean m and standard deviation s; s² divides by the number of values. */
function moments(values) {
  const m = sum(values) / values.length;
  return { m, s: Math.sqrt(sum(values.map(value => (value - m) ** 2)) / values.length) };
}

/** A value with the mean taken off, over √(s² + ε); 0 where nothing is left to divide by. */
const normalized = (value, { m, s }, eps) => (value - m) / (Math.sqrt(s * s + eps) || 1);

const divisors = (count, least = 1) => range(count + 1).filter(size => size >= least && count % size === 0);

/** `choices` with `value`, if it is another, in order. */
const including = (choices, value) => [...new Set([...choices, value])].sort((a, b) => a - b);

/** Numbers from 0 to 1 that a seed fixes (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** On the way from `a` to `b`, numbers in lists and objects of the same form; what has another form is there at once. */
function mix(a, b, share) {
  if (typeof a === "number" && typeof b === "number") return a + (b - a) * share;
  if (Array.isArray(b)) return a?.length === b.length ? b.map((value, i) => mix(a[i], value, share)) : b;
  if (b === null || typeof b !== "object") return b;
  return Object.fromEntries(Object.entries(b).map(([name, value]) => [name, mix(a?.[name], value, share)]));
}
