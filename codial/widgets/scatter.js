// Linked maps side by side: a lasso in one selects the same images in all of them; each has its own view.
// scatter.py joins this file and the three that it needs to one module.
const HEIGHT = 300; // pixels
const BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="; // one transparent pixel
const SYMBOLS = { o: "●", s: "■", "^": "▲", v: "▼", D: "◆" };

const STYLE = `
.codial-maps {position: relative; background: white; color: black; color-scheme: light; font: 13px sans-serif}
.codial-maps .row {display: flex; gap: 6px}
.codial-maps .map {flex: 1 1 0; min-width: 0}
.codial-maps .bar {display: flex; align-items: center; gap: 2px; height: 26px; white-space: nowrap; overflow: hidden}
.codial-maps .bar span {flex: 1}
.codial-maps .bar output {min-width: 40px; text-align: center; font-variant-numeric: tabular-nums}
.codial-maps button {height: 22px; min-width: 24px; padding: 0 7px; font: inherit; color: black; background: #F0F0F0;
    border: 1px solid ${UNSELECTED}; border-radius: 2px; cursor: pointer}
.codial-maps button:hover {background: #E0E0E0}
.codial-maps button[aria-pressed=true] {background: #0072B2; border-color: #0072B2; color: white}
.codial-maps canvas {display: block; width: 100%; height: ${HEIGHT}px; box-sizing: border-box; cursor: crosshair;
    border: 1px solid ${UNSELECTED}; touch-action: none}
.codial-maps canvas.pans {cursor: grab}
.codial-maps canvas.dragged {cursor: grabbing}
.codial-maps :focus-visible {outline: 3px solid #56B4E9; outline-offset: -3px}
.codial-maps .legend > span > span {font-size: 17px; line-height: 1}
.codial-maps .legend {display: flex; flex-wrap: wrap; gap: 0 12px; padding: 3px 0; height: 20px; overflow: hidden}
.codial-maps .tip {position: absolute; z-index: 1; pointer-events: none; background: white; padding: 3px;
    border: 1px solid ${UNLABELED[0]}; white-space: nowrap}
.codial-maps .tip[hidden] {display: none}
.codial-maps .tip img {display: block; width: 96px; height: 96px; object-fit: contain; background: #F0F0F0;
    image-rendering: pixelated}`;

class Maps {
  constructor(model, el) {
    this.model = model, this.images = new Map(), this.hovered = -1, this.panels = [], this.mode = "select";
    this.root = document.createElement("div");
    this.root.className = "codial-maps";
    this.root.setAttribute("data-lm-suppress-shortcuts", true); // those of JupyterLab
    this.root.innerHTML = `<style>${STYLE}</style><div class=row></div><div class=legend></div>`
      + `<div class=tip hidden><img alt=""><span></span></div>`;
    [, this.row, this.legend, this.tip] = this.root.children;
    el.append(this.root);
    this.listeners = {
      "change:panels": () => this.update(),
      "change:selected": () => this.mark(),
      "change:neighbors": () => this.redraw(false),
      "change:current": () => this.redraw(false),
      "change:thumbnail": () => this.receive(),
    };
    Object.entries(this.listeners).forEach(([name, act]) => model.on(name, act));
    this.labels = new Int32Array(copyBuffer(model.get("labels"))), this.styles = model.get("styles");
    model.get("classes").forEach((name, k) => {
      const entry = document.createElement("span"), [shape, color] = this.styles[k];
      entry.innerHTML = `<span style="color: ${color}">${SYMBOLS[shape]}</span> `;
      entry.append(name);
      this.legend.append(entry);
    });
    this.mark();
    this.update();
    this.receive();
  }

  get selected() { return this.model.get("selected"); }
  get count() { return this.selected.length; }
  get current() { return this.model.get("current"); }
  get neighbors() { return this.model.get("neighbors"); }

  update() {
    const panels = this.model.get("panels");
    while (this.panels.length < panels.length) {
      this.panels.push(new Map2D(this, this.panels.length));
      this.panels.at(-1).setMode(this.mode);
      this.row.append(this.panels.at(-1).root);
    }
    panels.forEach((panel, i) => this.panels[i].show(panel));
  }

  mark() {
    this.isSelected = new Uint8Array(this.labels.length);
    this.selected.forEach(n => this.isSelected[n] = 1);
    this.redraw();
  }

  redraw(points) { this.panels.forEach(panel => panel.redraw(points)); }

  setMode(mode) { // what a drag does in every map: select or pan
    this.mode = mode;
    this.panels.forEach(panel => panel.setMode(mode));
  }

  select(numbers) { this.send("selected", [...new Set(numbers)].sort((a, b) => a - b)); }

  setCurrent(number) { this.send("current", number); }

  send(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  hover(number, event) { // the tip keeps its size while its image is on the way
    if (number >= 0) this.place(event);
    if (number === this.hovered) return;
    this.hovered = number;
    this.tip.hidden = number < 0;
    this.redraw(false);
    clearTimeout(this.timer);
    if (number < 0) return;
    const label = this.labels[number];
    this.tip.lastChild.innerText = `image ${number}${label < 0 ? "" : `, ${this.model.get("classes")[label]}`}`;
    this.tip.firstChild.src = this.images.get(number) || BLANK;
    if (!this.images.has(number)) this.timer = setTimeout(() => this.send("hovered", number), 80);
  }

  place(event) { // beside the mouse, towards the middle
    const box = this.root.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const across = x > box.width / 2 ? `right: ${box.width - x + 12}px` : `left: ${x + 12}px`;
    this.tip.style = `${across}; ${y > box.height / 2 ? `bottom: ${box.height - y + 12}px` : `top: ${y + 12}px`}`;
  }

  receive() {
    const { number, png } = this.model.get("thumbnail");
    if (!png) return;
    const blob = new Blob([copyBuffer(png)], { type: "image/png" });
    if (!this.images.has(number)) this.images.set(number, URL.createObjectURL(blob));
    if (number === this.hovered) this.tip.firstChild.src = this.images.get(number);
  }

  dispose() {
    Object.entries(this.listeners).forEach(([name, act]) => this.model.off(name, act));
    this.panels.forEach(panel => panel.dispose());
    this.images.forEach(url => URL.revokeObjectURL(url));
    clearTimeout(this.timer);
  }
}

export default {
  render({ model, el }) {
    const maps = new Maps(model, el);
    return () => maps.dispose();
  },
};
