// Linked maps side by side on plain canvases: a lasso in one selects the same images in all of them.
const UNSELECTED = "#C8C8C8", UNLABELED = ["#808080", "#000000"], HEIGHT = 300, DURATION = 500; // pixels, milliseconds

const STYLE = `
.codial-maps {position: relative; background: white; color: black; font: 13px sans-serif}
.codial-maps .row {display: flex; gap: 6px}
.codial-maps canvas {flex: 1 1 0; min-width: 0; height: ${HEIGHT}px; box-sizing: border-box; cursor: crosshair;
    border: 1px solid ${UNSELECTED}; touch-action: none}
.codial-maps canvas:focus-visible {outline: 3px solid #56B4E9; outline-offset: -3px}
.codial-maps .legend > span > span {font-size: 17px; line-height: 1}
.codial-maps .legend {display: flex; flex-wrap: wrap; gap: 0 12px; padding: 3px 0; height: 20px; overflow: hidden}
.codial-maps .tip {position: absolute; z-index: 1; pointer-events: none; background: white; border: 1px solid ${UNLABELED[0]};
    padding: 3px; white-space: nowrap}
.codial-maps .tip img {display: block; height: 72px; min-width: 72px; image-rendering: pixelated}`;

const MARKERS = { // centered at (x, y), of radius r
  o: (c, x, y, r) => c.arc(x, y, r, 0, 7),
  s: (c, x, y, r) => c.rect(x - r, y - r, 2 * r, 2 * r),
  "^": (c, x, y, r) => polygon(c, [[x, y - r], [x + r, y + r], [x - r, y + r]]),
  v: (c, x, y, r) => polygon(c, [[x, y + r], [x + r, y - r], [x - r, y - r]]),
  D: (c, x, y, r) => polygon(c, [[x, y - r], [x + r, y], [x, y + r], [x - r, y]]),
};
const SYMBOLS = { o: "●", s: "■", "^": "▲", v: "▼", D: "◆" };

function polygon(context, points) {
  context.moveTo(...points.at(-1));
  points.forEach(point => context.lineTo(...point));
}

const copyBuffer = view => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const toFloats = view => new Float32Array(copyBuffer(view));

function inside([x, y], outline) { // whether a ray to the right crosses the outline an odd number of times
  let isInside = false;
  outline.forEach(([ax, ay], i) => {
    const [bx, by] = outline.at(i - 1);
    if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) isInside = !isInside;
  });
  return isInside;
}

class Map2D {
  constructor(maps, index) {
    this.maps = maps, this.index = index, this.outline = [];
    this.canvas = document.createElement("canvas");
    const attributes = { tabindex: 0, role: "application", "data-lm-suppress-shortcuts": true }; // JupyterLab's shortcuts
    Object.entries(attributes).forEach(([name, value]) => this.canvas.setAttribute(name, value));
    const on = (name, act) => this.canvas.addEventListener(name, act);
    on("pointerdown", event => this.press(event));
    on("pointermove", event => this.move(event));
    on("pointerup", event => this.release(event));
    on("pointercancel", () => this.cancel());
    on("pointerleave", () => this.maps.hover(-1));
    on("keydown", event => this.key(event));
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.canvas);
  }

  show({ title, points }) {
    this.title = title;
    const before = this.points, began = performance.now(), target = toFloats(points);
    const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = () => {
      const fraction = Math.min(1, (performance.now() - began) / DURATION), eased = fraction * fraction * (3 - 2 * fraction);
      this.points = fraction < 1 ? target.map((to, i) => before[i] + eased * (to - before[i])) : target;
      this.draw();
      if (fraction < 1) this.frame = requestAnimationFrame(step);
    };
    cancelAnimationFrame(this.frame);
    if (!reducedMotion && before && before.length === target.length) return step();
    this.points = target;
    this.draw();
  }

  draw() {
    const { canvas, maps } = this, { clientWidth: width, clientHeight: height } = canvas;
    if (!this.points || !width) return;
    const [x, y] = maps.model.get("extent"), unit = Math.min(width / x, height / y) / 2;
    this.pixels = this.points.map((value, i) => i % 2 ? height / 2 - unit * value : width / 2 + unit * value);
    const context = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
    canvas.width = ratio * width, canvas.height = ratio * height;
    context.scale(ratio, ratio);
    const selected = maps.selected, any = selected.size > 0, { current, neighbors } = maps;
    const size = Math.max(1.2, Math.min(3.5, 70 / Math.sqrt(maps.labels.length || 1)));
    maps.labels.forEach((_, n) => any && !selected.has(n) && this.dot(context, n, size, ["o", UNSELECTED]));
    maps.labels.forEach((label, n) => {
      if (!any || selected.has(n)) this.dot(context, n, any ? 1.2 * size : size, maps.styles[label] || ["o", UNLABELED[+any]]);
    });
    (neighbors[this.index] || []).forEach(n => this.ring(context, n, size + 2, 1));
    if (current >= 0) this.ring(context, current, size + 5, 2.5);
    if (maps.hovered >= 0) this.ring(context, maps.hovered, size + 3, 1.5);
    if (this.outline.length > 1) this.lasso(context);
    canvas.setAttribute("aria-label", `map of ${this.title}, ${selected.size} of ${maps.labels.length} images selected; `
      + "arrow keys move, Enter adds or removes, Escape clears");
  }

  at(number) { return [this.pixels[2 * number], this.pixels[2 * number + 1]]; }

  lasso(context) {
    context.beginPath();
    polygon(context, this.outline);
    context.fillStyle = "#56B4E940", context.strokeStyle = "#0072B2";
    context.fill(), context.stroke();
  }

  dot(context, number, size, [shape, color]) {
    context.beginPath();
    MARKERS[shape](context, ...this.at(number), size);
    context.fillStyle = color;
    context.fill();
  }

  ring(context, number, size, width) {
    context.beginPath();
    context.arc(...this.at(number), size, 0, 7);
    context.lineWidth = width, context.strokeStyle = width < 1.5 ? "#404040" : "black";
    context.stroke();
  }

  nearest([x, y], maxDistance, allowed = () => true) {
    let best = -1, least = maxDistance;
    for (const n of this.maps.labels.keys()) {
      const [a, b] = this.at(n), distance = Math.hypot(a - x, b - y);
      if (distance < least && allowed(a - x, b - y)) best = n, least = distance;
    }
    return best;
  }

  position(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left - this.canvas.clientLeft, event.clientY - box.top - this.canvas.clientTop];
  }

  press(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.outline = [this.position(event)];
  }

  move(event) {
    if (!this.outline.length) return this.maps.hover(this.nearest(this.position(event), 10), event);
    this.maps.hover(-1);
    this.outline.push(this.position(event));
    this.draw();
  }

  release(event) {
    const outline = this.outline, [x, y] = outline[0] || [];
    this.cancel();
    if (!outline.length) return;
    if (outline.every(([a, b]) => Math.hypot(a - x, b - y) < 5)) return this.maps.setCurrent(this.nearest([x, y], 10));
    const enclosed = [...this.maps.labels.keys()].filter(n => inside(this.at(n), outline));
    this.maps.select(event.shiftKey ? [...this.maps.selected, ...enclosed] : enclosed);
  }

  cancel() {
    this.outline = [];
    this.draw();
  }

  key(event) {
    const { maps } = this, { current, selected } = maps;
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [];
    const ahead = (x, y) => right * x + down * y > Math.max(0.5, Math.abs(right * y) + Math.abs(down * x)); // in a quadrant
    if (right !== undefined) {
      const next = current < 0 ? 0 : this.nearest(this.at(current), Infinity, ahead);
      if (next >= 0) maps.setCurrent(next);
    } else if (event.key === "Enter" && current >= 0) {
      maps.select(selected.has(current) ? [...selected].filter(n => n !== current) : [...selected, current]);
    } else if (event.key === "Escape") maps.select([]);
    else return;
    event.preventDefault();
  }
}

class Maps {
  constructor(model, el) {
    this.model = model, this.images = new Map(), this.hovered = -1, this.panels = [];
    this.root = document.createElement("div");
    this.root.className = "codial-maps";
    this.root.innerHTML = `<style>${STYLE}</style><div class=row></div><div class=legend></div><div class=tip hidden></div>`;
    [, this.row, this.legend, this.tip] = this.root.children;
    el.append(this.root);
    this.listeners = {
      "change:panels": () => this.update(),
      "change:selected": () => this.draw(),
      "change:neighbors": () => this.draw(),
      "change:current": () => this.draw(),
      "change:thumbnail": () => this.image(),
    };
    Object.entries(this.listeners).forEach(([name, act]) => model.on(name, act));
    this.labels = new Int32Array(copyBuffer(model.get("labels"))), this.styles = model.get("styles");
    model.get("classes").forEach((name, k) => {
      const entry = document.createElement("span"), [shape, color] = this.styles[k];
      entry.innerHTML = `<span style="color: ${color}">${SYMBOLS[shape]}</span> `;
      entry.append(name);
      this.legend.append(entry);
    });
    this.update();
  }

  get selected() { return new Set(this.model.get("selected")); }
  get current() { return this.model.get("current"); }
  get neighbors() { return this.model.get("neighbors"); }

  update() {
    const panels = this.model.get("panels");
    while (this.panels.length < panels.length) {
      this.panels.push(new Map2D(this, this.panels.length));
      this.row.append(this.panels.at(-1).canvas);
    }
    panels.forEach((panel, i) => this.panels[i].show(panel));
  }

  draw() { this.panels.forEach(panel => panel.draw()); }

  select(numbers) {
    this.send("selected", [...new Set(numbers)].sort((a, b) => a - b));
  }

  setCurrent(number) { this.send("current", number); }

  send(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  hover(number, event) {
    if (event && number >= 0) {
      const box = this.root.getBoundingClientRect(), right = event.clientX > box.left + box.width / 2;
      const x = event.clientX - box.left, y = event.clientY - box.top;
      this.tip.style = `top: ${y + 12}px; ${right ? `right: ${box.width - x + 12}px` : `left: ${x + 12}px`}`;
    }
    if (number === this.hovered) return;
    this.hovered = number;
    this.tip.hidden = number < 0;
    this.draw();
    if (number < 0) return;
    const label = this.labels[number];
    this.tip.innerText = `image ${number}${label < 0 ? "" : `, ${this.model.get("classes")[label]}`}`;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.images.has(number) ? this.image() : this.send("hovered", number), 80);
  }

  image() { // show the hovered image in the tip once its thumbnail has arrived
    const { number, png } = this.model.get("thumbnail");
    if (png && !this.images.has(number)) this.images.set(number, URL.createObjectURL(new Blob([copyBuffer(png)], { type: "image/png" })));
    if (!this.images.has(this.hovered) || this.tip.querySelector("img")) return;
    const image = document.createElement("img");
    image.src = this.images.get(this.hovered);
    this.tip.prepend(image);
  }

  dispose() {
    Object.entries(this.listeners).forEach(([name, act]) => this.model.off(name, act));
    this.panels.forEach(panel => panel.sizes.disconnect());
    this.images.forEach(url => URL.revokeObjectURL(url));
  }
}

export default {
  render({ model, el }) {
    const maps = new Maps(model, el);
    return () => maps.dispose();
  },
};
