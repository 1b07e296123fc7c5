// Maps side by side, drawn on plain canvases: a lasso in one chooses the same pictures in all of them.
const REST = "#C8C8C8", UNKNOWN = ["#808080", "#000000"], HEIGHT = 300, GLIDE = 500; // pixels, milliseconds

const STYLE = `
.codial-maps {position: relative; background: white; color: black; font: 13px sans-serif}
.codial-maps .row {display: flex; gap: 6px}
.codial-maps canvas {flex: 1 1 0; min-width: 0; height: ${HEIGHT}px; box-sizing: border-box; cursor: crosshair;
    border: 1px solid ${REST}; touch-action: none}
.codial-maps canvas:focus-visible {outline: 3px solid #56B4E9; outline-offset: -3px}
.codial-maps .legend > span > span {font-size: 17px; line-height: 1}
.codial-maps .legend {display: flex; flex-wrap: wrap; gap: 0 12px; padding: 3px 0; height: 20px; overflow: hidden}
.codial-maps .tip {position: absolute; z-index: 1; pointer-events: none; background: white; border: 1px solid ${UNKNOWN[0]};
    padding: 3px; white-space: nowrap}
.codial-maps .tip img {display: block; height: 72px; min-width: 72px; image-rendering: pixelated}`;

const SHAPES = { // round a place, of radius r
  o: (c, x, y, r) => c.arc(x, y, r, 0, 7),
  s: (c, x, y, r) => c.rect(x - r, y - r, 2 * r, 2 * r),
  "^": (c, x, y, r) => corners(c, [[x, y - r], [x + r, y + r], [x - r, y + r]]),
  v: (c, x, y, r) => corners(c, [[x, y + r], [x + r, y - r], [x - r, y - r]]),
  D: (c, x, y, r) => corners(c, [[x, y - r], [x + r, y], [x, y + r], [x - r, y]]),
};
const SIGNS = { o: "●", s: "■", "^": "▲", v: "▼", D: "◆" };

function corners(context, places) {
  context.moveTo(...places.at(-1));
  places.forEach(place => context.lineTo(...place));
}

const copied = view => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const floats = view => new Float32Array(copied(view));

function inside([x, y], outline) { // by how often a ray to the right crosses the outline
  let odd = false;
  outline.forEach(([ax, ay], i) => {
    const [bx, by] = outline.at(i - 1);
    if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) odd = !odd;
  });
  return odd;
}

class Map2D {
  constructor(maps, place) {
    this.maps = maps, this.place = place, this.outline = [];
    this.canvas = document.createElement("canvas");
    const given = { tabindex: 0, role: "application", "data-lm-suppress-shortcuts": true }; // JupyterLab's own, such as dd
    Object.entries(given).forEach(([name, value]) => this.canvas.setAttribute(name, value));
    const on = (name, act) => this.canvas.addEventListener(name, act);
    on("pointerdown", event => this.press(event));
    on("pointermove", event => this.move(event));
    on("pointerup", event => this.release(event));
    on("pointercancel", () => this.drop());
    on("pointerleave", () => this.maps.hover(-1));
    on("keydown", event => this.key(event));
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.canvas);
  }

  show({ title, points }) {
    this.title = title;
    const before = this.now, began = performance.now(), target = floats(points);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const glide = () => {
      const part = Math.min(1, (performance.now() - began) / GLIDE), eased = part * part * (3 - 2 * part);
      this.now = part < 1 ? target.map((to, i) => before[i] + eased * (to - before[i])) : target;
      this.draw();
      if (part < 1) this.gliding = requestAnimationFrame(glide);
    };
    cancelAnimationFrame(this.gliding);
    if (!still && before && before.length === target.length) return glide();
    this.now = target;
    this.draw();
  }

  draw() {
    const { canvas, maps } = this, { clientWidth: wide, clientHeight: high } = canvas;
    if (!this.now || !wide) return;
    const [across, up] = maps.model.get("reach"), unit = Math.min(wide / across, high / up) / 2;
    this.seen = this.now.map((value, i) => i % 2 ? high / 2 - unit * value : wide / 2 + unit * value); // in pixels
    const context = canvas.getContext("2d"), sharp = window.devicePixelRatio || 1;
    canvas.width = sharp * wide, canvas.height = sharp * high;
    context.scale(sharp, sharp);
    const chosen = maps.chosen, any = chosen.size > 0, { pointed, near } = maps;
    const size = Math.max(1.2, Math.min(3.5, 70 / Math.sqrt(maps.labels.length || 1)));
    maps.labels.forEach((_, n) => any && !chosen.has(n) && this.dot(context, n, size, ["o", REST]));
    maps.labels.forEach((label, n) => {
      if (!any || chosen.has(n)) this.dot(context, n, any ? 1.2 * size : size, maps.looks[label] || ["o", UNKNOWN[+any]]);
    });
    (near[this.place] || []).forEach(n => this.ring(context, n, size + 2, 1));
    if (pointed >= 0) this.ring(context, pointed, size + 5, 2.5);
    if (maps.hovered >= 0) this.ring(context, maps.hovered, size + 3, 1.5);
    if (this.outline.length > 1) this.lasso(context);
    canvas.setAttribute("aria-label", `map of ${this.title}, ${chosen.size} of ${maps.labels.length} pictures chosen; `
      + "arrow keys walk, Enter adds or removes, Escape clears");
  }

  at(number) { return [this.seen[2 * number], this.seen[2 * number + 1]]; }

  lasso(context) {
    context.beginPath();
    corners(context, this.outline);
    context.fillStyle = "#56B4E940", context.strokeStyle = "#0072B2";
    context.fill(), context.stroke();
  }

  dot(context, number, size, [shape, colour]) {
    context.beginPath();
    SHAPES[shape](context, ...this.at(number), size);
    context.fillStyle = colour;
    context.fill();
  }

  ring(context, number, size, width) {
    context.beginPath();
    context.arc(...this.at(number), size, 0, 7);
    context.lineWidth = width, context.strokeStyle = width < 1.5 ? "#404040" : "black";
    context.stroke();
  }

  nearest([x, y], reach, allowed = () => true) {
    let best = -1, least = reach;
    for (const n of this.maps.labels.keys()) {
      const [a, b] = this.at(n), apart = Math.hypot(a - x, b - y);
      if (apart < least && allowed(a - x, b - y)) best = n, least = apart;
    }
    return best;
  }

  spot(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left - this.canvas.clientLeft, event.clientY - box.top - this.canvas.clientTop];
  }

  press(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.outline = [this.spot(event)];
  }

  move(event) {
    if (!this.outline.length) return this.maps.hover(this.nearest(this.spot(event), 10), event);
    this.maps.hover(-1);
    this.outline.push(this.spot(event));
    this.draw();
  }

  release(event) {
    const outline = this.outline, [x, y] = outline[0] || [];
    this.drop();
    if (!outline.length) return;
    if (outline.every(([a, b]) => Math.hypot(a - x, b - y) < 5)) return this.maps.point(this.nearest([x, y], 10));
    const caught = [...this.maps.labels.keys()].filter(n => inside(this.at(n), outline));
    this.maps.choose(event.shiftKey ? [...this.maps.chosen, ...caught] : caught);
  }

  drop() {
    this.outline = [];
    this.draw();
  }

  key(event) {
    const { maps } = this, { pointed, chosen } = maps;
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [];
    const ahead = (x, y) => right * x + down * y > Math.max(0.5, Math.abs(right * y) + Math.abs(down * x)); // a quadrant
    if (right !== undefined) {
      const next = pointed < 0 ? 0 : this.nearest(this.at(pointed), Infinity, ahead);
      if (next >= 0) maps.point(next);
    } else if (event.key === "Enter" && pointed >= 0) {
      maps.choose(chosen.has(pointed) ? [...chosen].filter(n => n !== pointed) : [...chosen, pointed]);
    } else if (event.key === "Escape") maps.choose([]);
    else return;
    event.preventDefault();
  }
}

class Maps {
  constructor(model, el) {
    this.model = model, this.pictures = new Map(), this.hovered = -1, this.panels = [];
    this.root = document.createElement("div");
    this.root.className = "codial-maps";
    this.root.innerHTML = `<style>${STYLE}</style><div class=row></div><div class=legend></div><div class=tip hidden></div>`;
    [, this.row, this.legend, this.tip] = this.root.children;
    el.append(this.root);
    this.listeners = {
      "change:panels": () => this.renew(),
      "change:chosen": () => this.draw(),
      "change:near": () => this.draw(),
      "change:pointed": () => this.draw(),
      "change:thumb": () => this.picture(),
    };
    Object.entries(this.listeners).forEach(([name, act]) => model.on(name, act));
    this.labels = new Int32Array(copied(model.get("labels"))), this.looks = model.get("looks");
    model.get("classes").forEach((name, k) => {
      const sign = document.createElement("span"), [shape, colour] = this.looks[k];
      sign.innerHTML = `<span style="color: ${colour}">${SIGNS[shape]}</span> `;
      sign.append(name);
      this.legend.append(sign);
    });
    this.renew();
  }

  get chosen() { return new Set(this.model.get("chosen")); }
  get pointed() { return this.model.get("pointed"); }
  get near() { return this.model.get("near"); }

  renew() {
    const wanted = this.model.get("panels");
    while (this.panels.length < wanted.length) {
      this.panels.push(new Map2D(this, this.panels.length));
      this.row.append(this.panels.at(-1).canvas);
    }
    wanted.forEach((panel, i) => this.panels[i].show(panel));
  }

  draw() { this.panels.forEach(panel => panel.draw()); }

  choose(numbers) {
    this.tell("chosen", [...new Set(numbers)].sort((a, b) => a - b));
  }

  point(number) { this.tell("pointed", number); }

  tell(name, value) {
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
    this.tip.innerText = `picture ${number}${label < 0 ? "" : `, ${this.model.get("classes")[label]}`}`;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.pictures.has(number) ? this.picture() : this.tell("hovered", number), 80);
  }

  picture() { // put the hovered picture into the tip, once it has come
    const { number, png } = this.model.get("thumb");
    if (png && !this.pictures.has(number)) this.pictures.set(number, URL.createObjectURL(new Blob([copied(png)], { type: "image/png" })));
    if (!this.pictures.has(this.hovered) || this.tip.querySelector("img")) return;
    const image = document.createElement("img");
    image.src = this.pictures.get(this.hovered);
    this.tip.prepend(image);
  }

  stop() {
    Object.entries(this.listeners).forEach(([name, act]) => this.model.off(name, act));
    this.panels.forEach(panel => panel.sizes.disconnect());
    this.pictures.forEach(address => URL.revokeObjectURL(address));
  }
}

export default {
  render({ model, el }) {
    const maps = new Maps(model, el);
    return () => maps.stop();
  },
};
