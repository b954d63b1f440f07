"""Interactive figures that move with a kernel and without one, in JupyterLab and on a page that is offline.

A new figure is a folder with three files, of which ``__init__.py`` says what can be moved::

    class Groups(InteractiveFigure):
        \"\"\"Values that share one mean and one variance.\"\"\"

        alt = description("Interactive figure: a block of examples by channels …")
        examples = whole(4, low=1, fix="try 4")
        eps = eps_trait()

``figure.js`` ends in ``export default figure({ view })``, and knows its name and its traits from here. What it can use
is in ``kit/*.js``, where ``life.js`` says what a view is given. ``figure.css`` holds what is particular to the drawing;
colours, controls and the words for a drawing's parts are in ``kit/kit.css``.
"""

import collections
import hashlib
import html
import json
import math
import operator
import pathlib
import reprlib
from base64 import b64encode
from collections.abc import Callable, Iterable
from string import Template

import anywidget
import ipywidgets
import numpy as np
import traitlets

HERE = pathlib.Path(__file__).parent
KIT = [HERE / "kit" / f"{part}.js" for part in ("math", "tree", "scales", "controls", "life")]
_displayed = collections.Counter()  # how often each figure was displayed in this kernel: ids repeat in a fresh one


def concatenate(*files: pathlib.Path) -> str:
    """Return files as one text: a page that is read offline can't load a second module."""
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


class Checked(traitlets.TraitType):
    """A synced trait that converts what it is given, or raises a ValueError that says what it wants, and a fix.

    Args:
        default: The value of a figure that is not told otherwise.
        convert: Returns the value to keep, as something that JSON knows; fails with ValueError or TypeError.
        rule: What the value must be, as the end of "… must be …".
        fix: What to do about it.
    """

    def __init__(self, default, convert: Callable, rule: str, fix: str) -> None:
        super().__init__(default)
        self.tag(sync=True)
        self.convert, self.rule, self.fix = convert, rule, fix

    def default(self, obj=None):
        """Return the default value, a new copy for each figure."""
        return self.convert(self.default_value)

    def validate(self, obj, value):
        """Return the converted value."""
        try:
            return self.convert(value)
        except (TypeError, ValueError):
            got = f"{self.name}={reprlib.repr(value)}"
            raise ValueError(f"{self.name} must be {self.rule}, but got {got}; {self.fix}") from None


def require(value, rule: Callable):
    """Return ``value`` if ``rule`` holds for it, else raise ValueError: for converters of :class:`Checked`."""
    if not rule(value):
        raise ValueError
    return value


def number(low: float = -math.inf, high: float = math.inf, kind: Callable = float) -> Callable:
    """Return a converter for :class:`Checked`: to a finite number from ``low`` to ``high``, both included."""
    return lambda value: require(kind(value), lambda x: math.isfinite(x) and low <= x <= high)


def array(dimensions: int, rule: Callable) -> Callable:
    """Return a converter for :class:`Checked`: to nested lists of finite numbers whose sizes ``rule`` accepts."""

    def convert(values) -> list:
        values = np.asarray(values if hasattr(values, "__len__") else list(values), dtype=float)
        require(values, lambda values: values.ndim == dimensions and np.isfinite(values).all())
        return require(values, lambda values: rule(*values.shape)).tolist()

    return convert


def _between(noun: str, low: float, high: float) -> str:
    if math.isfinite(high):
        return f"{noun} from {low:g} to {high:g}"
    return f"{noun}, at least {low:g}" if math.isfinite(low) else noun


def real(default: float, low: float = -math.inf, high: float = math.inf, *, fix: str) -> Checked:
    """Return a trait that is a number from ``low`` to ``high``, both included."""
    noun = "a number" if math.isfinite(high) else "a finite number"
    return Checked(default, number(low, high), _between(noun, low, high), fix)


def whole(default: int, low: int, high: float = math.inf, *, fix: str) -> Checked:
    """Return a trait that is a whole number from ``low`` to ``high``, both included."""
    return Checked(default, number(low, high, operator.index), _between("a whole number", low, high), fix)


def eps_trait(default: float = 1e-5, fix: str = "torch takes 1e-5") -> Checked:
    """Return the trait ε, which is added to a variance. Its rule is that of the layers: 0 is allowed."""
    return real(default, low=0, fix=fix)


def one_of(*names: str, default: str | None = None) -> Checked:
    """Return a trait that is one of some names, and at first the first of them or ``default``."""
    rule = listed(map(repr, names))
    return Checked(default or names[0], lambda name: require(name, names.__contains__), rule, "take one")


def flag(default: bool, fix: str) -> Checked:
    """Return a trait that is True or False."""
    return Checked(default, lambda value: require(value, (True, False).__contains__), "True or False", fix)


def words(text: str) -> Checked:
    """Return a trait that is a text, shown as it is: no markup."""
    rule = "a text"
    return Checked(text, lambda value: require(value, lambda text: isinstance(text, str)), rule, 'write "…"')


def description(text: str) -> traitlets.Unicode:
    """Return the trait that says what the figure shows, for those who can't see it."""
    return traitlets.Unicode(text).tag(sync=True)


def listed(values: Iterable) -> str:
    """Return values as "1, 2 or 3"."""
    *few, last = map(str, values)
    return f"{', '.join(few)} or {last}" if few else last


def divisors(count: int, least: int = 1) -> list[int]:
    """Return what divides ``count``, from ``least`` on."""
    return [divisor for divisor in range(least, count + 1) if count % divisor == 0]


def require_index(name: str, index: int, count: int, noun: str) -> int:
    """Return ``index`` if it is one of ``count``, counted from 0, else raise ValueError."""
    if index >= count:
        raise ValueError(
            f"{name} must be less than the number of {noun}, but got {name}={index} for {count} {noun}; count from 0"
        )
    return index


class InteractiveFigure(anywidget.AnyWidget):
    """A widget whose output also holds a page of its own: drawing, state and a stand-in for the kernel.

    With a kernel, JupyterLab shows the widget, and its traits follow the figure both ways. Elsewhere ``text/html``
    shows the same drawing, without network. It depends only on the state and on what was displayed before.
    """

    alt = description("Interactive figure.")

    def __init_subclass__(cls, **kwargs) -> None:
        name = cls.__module__.rpartition(".")[2]
        if not hasattr(cls, "_esm") and (HERE / name / "figure.js").exists():
            traits = [name for name, value in vars(cls).items() if isinstance(value, Checked)]
            known = json.dumps({"name": name.replace("_", "-"), "traits": traits})
            cls._esm = f"const FIGURE = {known};\n{concatenate(*KIT, HERE / name / 'figure.js')}"
            cls._css = concatenate(HERE / "kit" / "kit.css", HERE / name / "figure.css")
        super().__init_subclass__(**kwargs)

    def state(self) -> dict:
        """Return name and value of all that the drawing can read, as JSON knows it."""
        inherited = ipywidgets.DOMWidget.class_trait_names()
        names = [name for name in self.trait_names(sync=True) if name not in inherited and not name.startswith("_")]
        return self.get_state(sorted(names))

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.state().items() if value != self.trait_defaults(name)}
        traits = ", ".join(f"{name}={self.brief(name, value)}" for name, value in changed.items())
        return f"{type(self).__name__}({traits})"

    def brief(self, name: str, value) -> str:
        """Return a trait's value as ``repr`` shows it: a long list by its shape."""
        shape, part = [], value
        while isinstance(part, list) and part:
            shape, part = [*shape, len(part)], part[0]
        return f"<{' x '.join(map(str, shape))}>" if math.prod(shape) > 9 else repr(value)

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "text/plain": repr(self), "text/html": self._page()}, metadata

    def _fallback(self) -> str:
        """Return what stands in the figure's place where no script runs, such as on GitHub."""
        where = "It moves on the book's site, and in a notebook once its cell was run."
        return f"<p>{html.escape(self.alt)}</p><p>{where}</p>"

    def _page(self) -> str:
        parts = {
            "alt": html.escape(self.alt),
            "fallback": self._fallback(),
            "css": str(getattr(self, "_css", "")),
            "module": b64encode(str(self._esm).encode()).decode(),
            "state": json.dumps(self.state()).replace("<", "\\u003c"),  # text must not end the script
        }
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
        _displayed[digest] += 1
        return _PAGE.substitute(parts, id=f"figure-{digest}-{_displayed[digest]}")


# The style rule takes back the white box of the book's dark theme. JupyterLab may show one output twice, so the script
# takes an element that no other run has. The text goes when the module is there: GitHub, which runs none, keeps it.
_PAGE = Template("""\
<style>
html[data-theme="dark"] .bd-content div.cell_output div.text_html:has(div.companion-figure)
{ background: none; color: inherit; padding: 0; }
$css</style>
<div id="$id" class="companion-figure tex2jax_ignore mathjax_ignore" role="group" aria-label="$alt">
$fallback</div>
<script type="module">
const el = [...document.querySelectorAll('[id="$id"]')].find(found => !found.dataset.live);
el.dataset.live = "true";
const state = $state, listeners = {};
const tell = event => (listeners[event] ?? []).forEach(listener => listener());
const model = {
  get: name => state[name], save_changes() {},
  set(name, value) {
    if (JSON.stringify(value) === JSON.stringify(state[name])) return;
    state[name] = value;
    ["change:" + name, "change"].forEach(tell);
  },
  on: (events, listener) => events.split(" ").forEach(event => (listeners[event] ??= []).push(listener)),
  off: (event, listener) => { listeners[event] = (listeners[event] ?? []).filter(other => other !== listener); },
};
const { default: made } = await import("data:text/javascript;base64,$module");
const figure = typeof made === "function" ? await made() : made;
el.replaceChildren();
await figure.initialize?.({ model });
await figure.render({ model, el });
</script>
""")
