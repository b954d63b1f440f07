// A drawing as a tree of plain elements, and the page brought into step with it.

/**
 * A plain element: `el("circle.fig-dot", { cx, cy, r: 4 }, …children)`.
 *
 * Children are elements, texts, lists of them, or null for one that is left out and keeps its place. An attribute that
 * is null or undefined is not there; `value` and names that begin with "on" are properties; `style` is an object;
 * `key` tells siblings apart that may change places; `drawn(element)` is called at the end of every drawing.
 */
function el(selector, attributes = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  const all = [...classes, attributes.class].filter(Boolean).join(" ");
  return { tag, attributes: all ? { ...attributes, class: all } : attributes, children };
}

/** Elements and texts in `children`, one by one, each with what tells it from its siblings: its key, or its place. */
function* siblings(children, above = "") {
  for (const [place, child] of children.entries()) {
    if (Array.isArray(child)) yield* siblings(child, `${above}${place}.`);
    else if ((child ?? false) !== false) yield [`${above}${child.attributes?.key ?? `#${place}`} ${child.tag}`, child];
  }
}

const [contents, dresses] = [new WeakMap(), new WeakMap()]; // an element's nodes and its attributes, as last drawn

/** Make the content of `parent` that of the tree. What is still there stays the same element. */
function patch(parent, children) {
  const before = contents.get(parent) ?? new Map();
  const after = new Map();
  for (const [identity, child] of siblings(children)) {
    const node = before.get(identity) ?? create(parent, child.tag);
    if (child.tag) {
      dress(node, child.attributes);
      patch(node, child.children);
      child.attributes.drawn?.(node);
    } else if (node.data !== String(child)) node.data = child;
    after.set(identity, node);
  }
  for (const [identity, node] of before) if (!after.has(identity)) node.remove();
  arrange(parent, [...after.values()]);
  contents.set(parent, after);
}

function create(parent, tag) {
  if (!tag) return document.createTextNode("");
  const svg = tag === "svg" || parent instanceof SVGElement;
  return svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
}

/** Put nodes in order. The one that has the focus is not moved but passed: to move it would lose focus and pointer. */
function arrange(parent, nodes) {
  const focused = nodes.find(node => node.contains(parent.getRootNode().activeElement));
  let spot = parent.firstChild;
  for (const node of nodes) {
    while (node === focused && spot !== node) {
      const passed = spot;
      spot = spot.nextSibling;
      parent.append(passed);
    }
    if (node === spot) spot = spot.nextSibling;
    else parent.insertBefore(node, spot);
  }
}

function dress(node, attributes) {
  const before = dresses.get(node) ?? {};
  for (const name of Object.keys({ ...before, ...attributes })) {
    const [was, value] = [before[name], attributes[name] ?? null];
    if (name === "key" || name === "drawn") continue;
    if (name === "style") restyle(node.style, was, value);
    else if (name === "value") node.value = value;
    else if (name.startsWith("on")) node[name] = value;
    else if (value === null) node.removeAttribute(name);
    else if (value !== was) node.setAttribute(name, value);
  }
  dresses.set(node, attributes);
}

function restyle(style, was, now) {
  for (const name of Object.keys({ ...was, ...now })) style.setProperty(name, now?.[name] ?? "");
}
