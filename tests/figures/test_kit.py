"""Interactive figures share a kit: a tree brought onto a page and kept in step, scales, drags, and a life."""

import pytest

from companion.figures import base

pytestmark = pytest.mark.slow


@pytest.fixture
def kit(visit, tmp_path, request):
    """Return a function that runs a script beside the kit, on a page with an empty `div`, `at`."""
    path = tmp_path / "kit.html"
    script = 'const FIGURE = { name: "toy", traits: ["x"] };\n' + base.concatenate(*base.KIT)
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><div id=at></div><script>{script}</script>", encoding="utf-8"
    )
    page = visit(path, **getattr(request, "param", {}))

    def run(body, *given):
        return page.evaluate(f"(...given) => {{ {body} }}", *given)

    run.page = page
    return run


def test_a_tree_comes_onto_the_page_and_changes_there(kit):
    kit("patch(at, [el('p.a.b', { title: 'one', class: 'c' }, 'text ', 3, null, [el('b', {}, 'bold')])])")
    assert kit("return at.innerHTML") == '<p title="one" class="a b c">text 3<b>bold</b></p>'
    kit("window.b = at.querySelector('b'); patch(at, [el('p.a', {}, 'other ', 4, el('i'), [el('b', {}, 'bolder')])])")
    assert kit("return at.innerHTML") == '<p class="a">other 4<i></i><b>bolder</b></p>'
    assert kit("return at.querySelector('b') === b")  # what was left out before had kept its place
    kit("patch(at, [])")
    assert kit("return at.innerHTML") == ""


def test_elements_within_an_svg_are_of_svg(kit):
    kit("patch(at, [el('svg', {}, el('g', {}, el('circle', { r: 3 }))), el('div')])")
    spaces = kit("return [...at.querySelectorAll('*')].map(one => one.namespaceURI.split('/').at(-1))")
    assert spaces == ["svg", "svg", "svg", "xhtml"]


def test_attributes_properties_styles_and_handlers_follow(kit):
    draw = "patch(at, [el('input', { type: 'range', max: %s, value: %s, style: { %s }, 'data-on': %s, onclick: %s })])"
    kit("window.seen = []; " + draw % (10, 7, "'--share': 0.5, color: 'red'", "true", "() => seen.push(1)"))
    kit("window.input = at.firstChild; input.click(); input.value = 2")
    assert kit("return [input.value, input.dataset.on, input.style.cssText]") == [
        "2",
        "true",
        "--share: 0.5; color: red;",
    ]
    kit(draw % (20, 15, "color: 'blue'", "null", "() => seen.push(2)") + "; input.click()")
    assert kit("return [input.value, input.hasAttribute('data-on'), input.style.cssText, seen]") == [
        "15",
        False,
        "color: blue;",
        [1, 2],
    ]
    kit("patch(at, [el('input', { type: 'range' })]); input.click()")
    assert kit("return [input.onclick, seen.length, input.getAttribute('style')]") == [None, 2, ""]


KEYED = "patch(at, [%s.map(key => el('input', { key, id: `k${key}` }))])"


@pytest.mark.parametrize("order", [[3, 1, 2], [2, 3, 1], [1, 5, 2, 4, 3], [3], [3, 2, 1], [4, 3, 5]])
def test_keys_keep_elements_and_the_focused_one_is_never_moved(kit, order):
    kit(KEYED % [1, 2, 3] + "; window.old = [...at.children]; old[2].focus()")
    kit("window.lost = 0; old[2].onblur = () => lost++; " + KEYED % order)
    assert kit("return [...at.children].map(one => one.id)") == [f"k{key}" for key in order]
    assert kit("return document.activeElement === old[2] && lost === 0")
    assert kit("return old.every(one => !one.isConnected || document.getElementById(one.id) === one)")


def test_a_key_is_no_place(kit):
    kit("patch(at, [el('p', {}, 'first'), el('p', { key: 0 }, 'keyed')])")
    assert kit("return at.innerHTML") == "<p>first</p><p>keyed</p>"


def test_what_another_hand_wrote_into_an_element_without_children_stays(kit):
    kit("window.draw = () => patch(at, [el('div', { drawn: one => { one.textContent ||= 'mine'; } })]); draw(); draw()")
    assert kit("return at.innerHTML") == "<div>mine</div>"


def test_a_scale_and_its_inverse(kit):
    assert kit("return [0, 5, 12].map(scale([0, 10], [100, 200]))") == [100, 150, 220]
    assert kit("return [100, 150, 220].map(scale([100, 200], [0, 10]))") == [0, 5, 12]
    assert kit("return [1, 10, 1000].map(scale([1, 1000], [90, 0], Math.log10))") == pytest.approx([90, 60, 0])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-1.9, 3.3, [-1, 0, 1, 2, 3]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.06, [0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06]),
        (-40, 25, [-40, -20, 0, 20]),
    ],
)
def test_ticks_are_round_and_few(kit, low, high, expected):
    assert kit("return ticks(...given[0])", [low, high]) == expected


def test_numbers_between_two_states(kit):
    assert kit("return mix({ a: 1, b: [0, 4], c: 'x' }, { a: 3, b: [2, 8], c: 'y' }, 0.5)") == {
        "a": 2,
        "b": [1, 6],
        "c": "y",
    }
    assert kit("return mix([1, 2], [5, 5, 5], 0.5)") == [5, 5, 5]


def test_texts_are_kept_inside_a_drawing(kit):
    text = "el('text', { x: %s, y: 20, 'text-anchor': '%s' }, '%s')"
    texts = [
        text % (2, "end", "left"),
        text % (98, "start", "right"),
        text % (50, "middle", "wider than the drawing is"),
    ]
    kit(f"patch(at, [drawing({{ width: 100 }}, {{ height: 40 }}, {', '.join(texts)})]); keepInside(at.firstChild)")
    inside = (
        "const { left, right } = at.firstChild.getBoundingClientRect(); return [...at.querySelectorAll('text')]"
        ".map(one => one.getBoundingClientRect()).every(box => box.left >= left && box.right <= right)"
    )
    assert kit(inside)
    kit("patch(at, [drawing({ width: 900 }, { height: 40 }, " + ", ".join(texts) + ")]); keepInside(at.firstChild)")
    assert kit("return at.querySelectorAll('text')[1].style.cssText") == ""


TOY = """
const kept = { x: 0 };
const listeners = [];
window.model = {
  get: name => kept[name] ?? "a toy", set(name, value) { kept[name] = value; }, save_changes() {},
  on: (_, one) => listeners.push(one), off: (_, one) => listeners.splice(listeners.indexOf(one), 1),
};
window.python = x => { kept.x = x; listeners.forEach(one => one()); };
window.heard = [];
const view = ({ x }, context) => [
  controls(context, {}, button("more", () => context.change({ x: x + 1 }, { move: { from: x } }))),
  el("output", { id: "told" }, `${x} ${context.last?.from ?? "–"} ${context.shape ?? "–"} ${context.held?.note ?? "–"}`),
  drawing(context, { height: 60 }, handle({
    at: [100 + x, 30], value: x, low: -100, high: 100, text: `x ${x}`, "aria-label": "x", id: "handle",
    ...keys(steps(x, { small: 1, large: 10, low: -100, high: 100 }), to => context.change({ x: to })),
    ...drag(context, [100 + x, 30], ([to]) => context.change({ x: Math.round(to) - 100 }), () => ({ note: "held" })),
  }, el("circle", { r: 8 }))),
];
const made = figure({ view, shape: SHAPE })();
made.initialize({ model });
window.end = made.render({ model, el: at });
"""


@pytest.fixture
def toy(kit):
    """Return a function that starts a figure of one number, and tells what it shows."""
    kit("document.body.style.margin = 0; " + TOY.replace("SHAPE", "undefined"))
    return lambda: kit("return document.getElementById('told').textContent")


def test_a_change_of_mine_and_one_of_python_and_a_reset(kit, toy):
    press = "[...document.querySelectorAll('button')].find(one => one.textContent === '%s').click()"
    assert toy() == "0 – – –"
    kit(press % "more" + ";" + press % "more")
    assert toy() == "2 1 – –"
    kit("python(7)")
    assert toy() == "7 – – –"
    kit(press % "reset")
    assert toy() == "0 – – –"
    kit("end(); python(3)")
    assert toy() == "0 – – –"


def test_keys_take_a_handle_to_numbers_and_modified_ones_pass(kit, toy):
    key = "document.getElementById('handle').dispatchEvent(new KeyboardEvent('keydown', given[0]))"
    for name, told in (("ArrowRight", "1"), ("PageUp", "11"), ("ArrowDown", "10"), ("End", "100"), ("Home", "-100")):
        kit(key, {"key": name})
        assert toy().split()[0] == told
    kit(key, {"key": "ArrowRight", "ctrlKey": True})
    kit(key, {"key": "b"})
    assert toy().split()[0] == "-100"
    assert kit("return document.getElementById('handle').getAttribute('aria-valuetext')") == "x -100"
    assert kit("return document.getElementById('handle').dataset.lmSuppressShortcuts") == "true"


def test_a_pointer_takes_a_handle_along_and_lets_it_go(kit, toy):
    mouse = kit.page.mouse
    box = kit.page.locator("#handle").bounding_box()
    x, y = box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + 40, y, steps=4)
    assert toy() == "40 – – held"
    mouse.move(x - 25, y + 200)  # off the handle, which has the pointer all the same
    assert toy() == "-25 – – held"
    mouse.up()
    assert toy() == "-25 – – –"
    mouse.move(x + 60, y)
    assert toy() == "-25 – – –"
    assert kit("return document.activeElement.id") == "handle"


@pytest.mark.parametrize("kit", [{"reduced_motion": "no-preference"}, {"reduced_motion": "reduce"}], indirect=True)
def test_numbers_glide_unless_motion_is_reduced(kit):
    kit(TOY.replace("SHAPE", "({ x }) => x"))
    still = kit("return matchMedia('(prefers-reduced-motion: reduce)').matches")
    kit(
        "window.seen = []; python(100); const told = document.getElementById('told');"
        "new MutationObserver(() => seen.push(Number(told.textContent.split(' ')[2])))"
        ".observe(told, { characterData: true, childList: true, subtree: true })"
    )
    kit.page.wait_for_function("document.getElementById('told').textContent === '100 – 100 –'")
    between = [x for x in kit("return seen") if 0 < x < 100]
    assert between == sorted(between)
    assert bool(between) is not still
