// The visible part of a map: from data coordinates to pixels and back, zoom and pan. No DOM here.
const MAX_ZOOM = 64;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

class View {
  constructor(extent) { // the largest |x| and |y| in the frame
    this.extent = extent;
    this.resize(1, 1);
    this.reset();
  }

  reset() { this.zoom = 1, this.center = [0, 0]; }

  resize(width, height) {
    this.size = [width, height];
    this.unit = Math.min(width / this.extent[0], height / this.extent[1]) / 2; // pixels per data unit at zoom 1
  }

  get scale() { return this.unit * this.zoom; }
  get middle() { return this.size.map(side => side / 2); }

  get origin() { // the data's origin in pixels
    const [x, y] = this.center, [left, top] = this.middle;
    return [left - this.scale * x, top + this.scale * y];
  }

  toPixels([x, y]) {
    const [left, top] = this.origin;
    return [left + this.scale * x, top - this.scale * y];
  }

  toData([across, down]) {
    const [left, top] = this.origin;
    return [(across - left) / this.scale, (top - down) / this.scale];
  }

  zoomBy(factor, pixel = this.middle) { // about a pixel: the data point under it stays there
    const [x, y] = this.toData(pixel);
    this.zoom = clamp(this.zoom * factor, 1, MAX_ZOOM);
    const [newX, newY] = this.toData(pixel);
    this.moveTo([this.center[0] + x - newX, this.center[1] + y - newY]);
  }

  panBy(across, down) { // moves the points by pixels
    this.moveTo([this.center[0] - across / this.scale, this.center[1] + down / this.scale]);
  }

  moveTo(center) { // the frame keeps at least three quarters of the view's width and height
    this.center = center.map((value, axis) => {
      const limit = (this.size[axis] / 2 / this.unit) * (1 - 0.5 / this.zoom);
      return clamp(value, -limit, limit);
    });
  }

  reveal(point) { // centers a data point that is out of sight
    const isVisible = this.toPixels(point).every((pixel, axis) => pixel >= 0 && pixel <= this.size[axis]);
    if (!isVisible) this.moveTo(point);
  }
}

function inside(x, y, outline) { // whether a ray to the right crosses the outline an odd number of times
  let isInside = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
    const a = outline[i], b = outline[j];
    if (a[1] > y !== b[1] > y && x < a[0] + ((y - a[1]) / (b[1] - a[1])) * (b[0] - a[0])) isInside = !isInside;
  }
  return isInside;
}
