// One map: a canvas with the points in view, and what mouse, fingers and keys do to it.
const UNSELECTED = "#C8C8C8", UNLABELED = ["#808080", "#000000"];
const DURATION = 500; // milliseconds in which points move to those of another map
const REACH = 10, CLICK = 5, STEP = 60; // pixels: from the mouse to a point, of a click's movement, of an arrow key's pan
const ZOOM = 1.5; // by a key or button
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const CONTENT = `<div class=bar>
  <button class=mode value=select title="drag draws a lasso, arrow keys go from image to image (S)">select</button>
  <button class=mode value=pan title="drag and arrow keys move the map (P; or middle button, Space, Shift)">pan</button>
  <span></span>
  <button title="zoom out (-)">−</button><output title="zoom"></output>
  <button title="zoom in (+, wheel or double click)">+</button>
  <button title="show the whole map (0)">reset</button>
</div><canvas tabindex=0 role=application></canvas>`;

const copyBuffer = view => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const mean = points => [0, 1].map(axis => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
const distance = ([a, b], [x, y]) => Math.hypot(a - x, b - y);

class Map2D {
  constructor(maps, index) {
    this.maps = maps, this.index = index, this.view = new View(maps.model.get("extent"));
    this.pointers = new Map(), this.drag = null, this.outline = []; // the lasso, in data coordinates
    this.root = document.createElement("div");
    this.root.className = "map";
    this.root.innerHTML = CONTENT;
    this.canvas = this.root.querySelector("canvas"), this.output = this.root.querySelector("output");
    this.layer = document.createElement("canvas"); // the points without lasso and rings, which change more often
    this.modes = [...this.root.querySelectorAll(".mode")];
    this.modes.forEach(button => button.onclick = () => maps.setMode(button.value));
    const [zoomOut, zoomIn, reset] = this.root.querySelectorAll("button:not(.mode)");
    zoomOut.onclick = () => this.zoomBy(1 / ZOOM);
    zoomIn.onclick = () => this.zoomBy(ZOOM);
    reset.onclick = () => this.reset();
    this.listen();
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.canvas);
  }

  listen() {
    const on = (name, act) => this.canvas.addEventListener(name, act, { passive: false });
    on("pointerdown", event => this.press(event));
    on("pointermove", event => this.move(event));
    on("pointerup", event => this.release(event));
    on("pointercancel", () => this.cancel());
    on("pointerleave", () => this.maps.hover(-1));
    on("mousedown", event => event.button === 1 && event.preventDefault()); // no scrolling by the middle button
    on("dblclick", event => this.zoomBy(2, this.position(event)));
    on("wheel", event => this.wheel(event));
    on("keydown", event => this.key(event));
    on("keyup", event => event.key === " " && this.holdSpace(false));
    on("blur", () => this.holdSpace(false));
  }

  dispose() {
    this.sizes.disconnect();
    cancelAnimationFrame(this.frame);
    cancelAnimationFrame(this.motion);
  }

  show({ title, points }) {
    this.title = title;
    const before = this.points, began = performance.now(), target = new Float32Array(copyBuffer(points));
    const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = () => {
      const fraction = Math.min(1, (performance.now() - began) / DURATION);
      const eased = fraction * fraction * (3 - 2 * fraction);
      this.points = fraction < 1 ? target.map((to, i) => before[i] + eased * (to - before[i])) : target;
      this.redraw();
      if (fraction < 1) this.motion = requestAnimationFrame(step);
    };
    cancelAnimationFrame(this.motion);
    if (!reducedMotion && before && before.length === target.length) return step();
    this.points = target;
    this.redraw();
  }

  at(number) { return [this.points[2 * number], this.points[2 * number + 1]]; }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (width && height) this.view.resize(width, height);
    this.redraw();
  }

  redraw(points = true) { // in the next frame, once, however many events there are until then
    this.isStale ||= points;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { canvas, layer, maps, view } = this, [width, height] = view.size, ratio = window.devicePixelRatio || 1;
    if (!this.points || !canvas.clientWidth) return;
    const sides = { width: Math.round(ratio * width), height: Math.round(ratio * height) };
    if (canvas.width !== sides.width || canvas.height !== sides.height || ratio !== this.ratio) {
      Object.assign(canvas, sides), Object.assign(layer, sides);
      this.isStale = true, this.ratio = ratio;
    }
    if (this.isStale) this.drawPoints(ratio);
    this.isStale = false;
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, sides.width, sides.height);
    context.drawImage(layer, 0, 0);
    context.scale(ratio, ratio);
    this.drawMarks(context);
    this.output.value = `${view.zoom.toFixed(1)}×`;
    canvas.setAttribute("aria-label", `map of ${this.title}, ${maps.count} of ${maps.labels.length} images selected; `
      + "arrow keys move, Enter adds or removes, Escape clears, plus and minus zoom, 0 shows the whole map");
  }

  get radius() {
    return Math.min(5, clamp(70 / Math.sqrt(this.maps.labels.length || 1), 1.2, 3.5) * this.view.zoom ** 0.3);
  }

  drawPoints(ratio) { // in device pixels; unselected points lie below the others
    const { points, layer, maps } = this, { labels, isSelected } = maps, any = maps.count > 0;
    const scale = ratio * this.view.scale, [left, top] = this.view.origin.map(value => ratio * value);
    const gray = stamp(["o", UNSELECTED], ratio * this.radius), radius = (any ? 1.2 : 1) * ratio * this.radius;
    const stamps = maps.styles.map(style => stamp(style, radius)), unlabeled = stamp(["o", UNLABELED[+any]], radius);
    const target = raster(new ImageData(layer.width, layer.height));
    target.bytes.fill(255); // white
    for (let pass = any ? 0 : 1; pass < 2; pass++) {
      for (let n = 0; n < labels.length; n++) {
        if (any && isSelected[n] !== pass) continue;
        const marker = pass ? stamps[labels[n]] || unlabeled : gray, half = marker.width / 2;
        const x = left + scale * points[2 * n] - half, y = top - scale * points[2 * n + 1] - half;
        paste(target, marker, Math.round(x), Math.round(y));
      }
    }
    layer.getContext("2d").putImageData(target.image, 0, 0);
  }

  drawMarks(context) {
    const { current, neighbors, hovered } = this.maps, { radius } = this;
    (neighbors[this.index] || []).forEach(n => this.ring(context, n, radius + 2, 1));
    if (current >= 0) this.ring(context, current, radius + 5, 2.5);
    if (hovered >= 0) this.ring(context, hovered, radius + 3, 1.5);
    if (this.outline.length < 2) return;
    context.beginPath();
    polygon(context, this.outline.map(point => this.view.toPixels(point)));
    context.fillStyle = "#56B4E940", context.strokeStyle = "#0072B2";
    context.fill(), context.stroke();
  }

  ring(context, number, radius, width) {
    context.beginPath();
    context.arc(...this.view.toPixels(this.at(number)), radius, 0, 7);
    context.lineWidth = width, context.strokeStyle = width < 1.5 ? "#404040" : "black";
    context.stroke();
  }

  nearest([x, y], reach, allowed = () => true) { // in data coordinates; 20,000 points take a tenth of a millisecond
    let best = -1, least = reach * reach;
    for (let n = 0; n < this.points.length / 2; n++) {
      const a = this.points[2 * n] - x, b = this.points[2 * n + 1] - y, squared = a * a + b * b;
      if (squared < least && allowed(a, b)) best = n, least = squared;
    }
    return best;
  }

  under(pixel) { return this.nearest(this.view.toData(pixel), REACH / this.view.scale); }

  position(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left - this.canvas.clientLeft, event.clientY - box.top - this.canvas.clientTop];
  }

  zoomBy(factor, pixel) {
    this.view.zoomBy(factor, pixel);
    this.redraw();
  }

  panBy(across, down) {
    this.view.panBy(across, down);
    this.redraw();
  }

  reset() {
    this.view.reset();
    this.redraw();
  }

  wheel(event) { // at the limit, the page scrolls after a pause
    const lines = event.deltaMode === 1 ? 16 : 1, speed = event.ctrlKey ? 0.01 : 0.002, { zoom } = this.view;
    this.zoomBy(Math.exp(-speed * clamp(lines * event.deltaY, -250, 250)), this.position(event));
    if (this.view.zoom !== zoom) this.zoomed = event.timeStamp;
    if (event.ctrlKey || event.timeStamp - (this.zoomed ?? -Infinity) < 500) event.preventDefault();
    if (!this.drag) this.hover(event);
  }

  hover(event) { this.maps.hover(this.under(this.position(event)), event); }

  press(event) {
    if (event.button > 1) return;
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.position(event), isFirst = this.pointers.size === 0;
    this.pointers.set(event.pointerId, at);
    const pans = !isFirst || event.button === 1 || this.isSpaceHeld || this.maps.mode === "pan";
    this.drag = { pans, at, isClick: isFirst && event.button === 0 };
    this.outline = pans ? [] : [this.view.toData(at)];
    this.canvas.classList.toggle("dragged", pans);
    this.redraw(false);
  }

  move(event) {
    if (!this.pointers.has(event.pointerId)) return this.hover(event);
    const at = this.position(event), before = [...this.pointers.values()];
    this.pointers.set(event.pointerId, at);
    this.maps.hover(-1);
    if (distance(at, this.drag.at) >= CLICK) this.drag.isClick = false;
    if (this.drag.pans) return this.follow(before, [...this.pointers.values()]);
    this.outline.push(this.view.toData(at));
    this.redraw(false);
  }

  follow(before, after) { // pan, and zoom with two fingers: the points under them stay there
    const from = mean(before), to = mean(after);
    if (after.length > 1) this.view.zoomBy(distance(...after) / Math.max(1, distance(...before)), from);
    this.panBy(to[0] - from[0], to[1] - from[1]);
  }

  release(event) {
    const { drag, outline, points } = this;
    this.pointers.delete(event.pointerId);
    if (!drag || this.pointers.size) return;
    this.cancel();
    if (drag.isClick) return this.maps.setCurrent(this.under(drag.at));
    if (drag.pans) return;
    const enclosed = [...this.maps.labels.keys()].filter(n => inside(points[2 * n], points[2 * n + 1], outline));
    this.maps.select(event.shiftKey ? [...this.maps.selected, ...enclosed] : enclosed);
  }

  cancel() {
    this.pointers.clear(), this.drag = null, this.outline = [];
    this.canvas.classList.remove("dragged");
    this.redraw(false);
  }

  setMode(mode) {
    this.modes.forEach(button => button.setAttribute("aria-pressed", button.value === mode));
    this.canvas.classList.toggle("pans", mode === "pan");
  }

  holdSpace(isHeld) {
    this.isSpaceHeld = isHeld;
    this.canvas.classList.toggle("pans", isHeld || this.maps.mode === "pan");
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { maps } = this, arrow = ARROWS[event.key], key = event.key.toLowerCase();
    if (arrow && (event.shiftKey || maps.mode === "pan")) this.panBy(-STEP * arrow[0], -STEP * arrow[1]);
    else if (arrow) this.step(arrow);
    else if (key === "+" || key === "=") this.zoomBy(ZOOM);
    else if (key === "-") this.zoomBy(1 / ZOOM);
    else if (key === "0" || key === "home") this.reset();
    else if (key === "s" || key === "p") maps.setMode(key === "s" ? "select" : "pan");
    else if (key === " ") this.holdSpace(true);
    else if (key === "enter") this.toggle();
    else if (key === "escape" && this.drag) this.cancel();
    else if (key === "escape") maps.select([]);
    else return;
    event.preventDefault();
  }

  step([right, down]) { // to the next image in a quadrant; y points up
    const { current } = this.maps;
    const ahead = (x, y) => right * x - down * y > Math.abs(right * y) + Math.abs(down * x);
    const next = current < 0 ? 0 : this.nearest(this.at(current), Infinity, ahead);
    if (next < 0) return;
    this.view.reveal(this.at(next));
    this.redraw();
    this.maps.setCurrent(next);
  }

  toggle() { // adds or removes the current image
    const { current, selected } = this.maps;
    if (current < 0) return;
    this.maps.select(selected.includes(current) ? selected.filter(n => n !== current) : [...selected, current]);
  }
}
