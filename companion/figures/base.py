"""Interactive figures that move with a kernel and without one, in JupyterLab and on a page that is offline.

A new figure is a subclass of :class:`Explorable` that names its drawing and what can be moved::

    class Groups(Explorable):
        \"\"\"Which values share one mean and one variance?\"\"\"

        _esm, _css = drawing("groups")
        alt = traitlets.Unicode("Interactive figure: a block of examples by channels …").tag(sync=True)
        examples = Checked(4, number(1, kind=int), "a number of examples", "try 4")

``groups.js`` ends in ``export default explorable("groups", ["examples"], build)``; what it can use, ``explorable``
included, is in ``kit.js``, and colours and controls are in ``kit.css``.
"""

import collections
import hashlib
import html
import json
import math
import pathlib
import reprlib
from base64 import b64encode
from collections.abc import Callable
from string import Template

import anywidget
import ipywidgets
import traitlets

HERE = pathlib.Path(__file__).parent
_displayed = collections.Counter()  # how often each figure was displayed in this kernel: ids repeat in a fresh one


def drawing(name: str) -> tuple[str, str]:
    """The ES module and the style sheet of a figure: what all figures share, then its own, as one text each.

    Not a module that imports another: the page of a book that is read offline can't load a second file.
    """
    return tuple(
        "\n".join(HERE.joinpath(f"{part}.{kind}").read_text(encoding="utf-8") for part in ("kit/kit", f"{name}/figure"))
        for kind in ("js", "css")
    )


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
        """The default value, a new copy for each figure."""
        return self.convert(self.default_value)

    def validate(self, obj, value):
        """The converted value."""
        try:
            return self.convert(value)
        except (TypeError, ValueError):
            got = f"{self.name}={reprlib.repr(value)}"
            raise ValueError(f"{self.name} must be {self.rule}, but got {got}; {self.fix}") from None


def number(low: float = -math.inf, high: float = math.inf, kind: Callable = float) -> Callable:
    """A converter for :class:`Checked`: to a finite number from ``low`` to ``high``, both included."""
    return lambda value: only(kind(value), lambda x: math.isfinite(x) and low <= x <= high)


def only(value, rule: Callable):
    """``value`` if ``rule`` holds for it, else ValueError: for converters of :class:`Checked`."""
    if not rule(value):
        raise ValueError
    return value


class Explorable(anywidget.AnyWidget):
    """A widget whose output also holds a page of its own: drawing, state and a stand-in for the kernel.

    With a kernel, JupyterLab shows the widget, and its traits follow the figure both ways. RemoteAnswer ``text/html``
    shows the same drawing, without network. It depends only on the state and on what was displayed before.
    """

    alt = traitlets.Unicode("Interactive figure.").tag(sync=True)

    def state(self) -> dict:
        """Name and value of all that the drawing can read, as JSON knows it."""
        inherited = ipywidgets.DOMWidget.class_trait_names()
        names = [name for name in self.trait_names(sync=True) if name not in inherited and not name.startswith("_")]
        return self.get_state(sorted(names))

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.state().items() if value != self.trait_defaults(name)}
        traits = ", ".join(f"{name}={self.brief(name, value)}" for name, value in changed.items())
        return f"{type(self).__name__}({traits})"

    def brief(self, name: str, value) -> str:
        """How ``repr`` shows a trait: a long list by its shape."""
        shape, part = [], value
        while isinstance(part, list) and part:
            shape, part = [*shape, len(part)], part[0]
        return f"<{' x '.join(map(str, shape))}>" if math.prod(shape) > 9 else repr(value)

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "text/plain": repr(self), "text/html": self._page()}, metadata

    def _page(self) -> str:
        parts = {
            "alt": html.escape(self.alt),
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
<p>$alt <noscript>This figure needs JavaScript.</noscript></p></div>
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
