// Markers as small images, pasted into a larger one: paths and copies of a canvas take ten times as long.

const MARKERS = { // centered at (x, y), of radius r
  o: (c, x, y, r) => c.arc(x, y, r, 0, 7),
  s: (c, x, y, r) => c.rect(x - r, y - r, 2 * r, 2 * r),
  "^": (c, x, y, r) => polygon(c, [[x, y - r], [x + r, y + r], [x - r, y + r]]),
  v: (c, x, y, r) => polygon(c, [[x, y + r], [x + r, y - r], [x - r, y - r]]),
  D: (c, x, y, r) => polygon(c, [[x, y - r], [x + r, y], [x, y + r], [x - r, y]]),
};

function polygon(context, points) {
  context.moveTo(...points.at(-1));
  points.forEach(point => context.lineTo(...point));
}

function stamp([shape, color], radius) { // a marker as pixels
  const canvas = document.createElement("canvas"), half = Math.ceil(radius) + 1;
  canvas.width = canvas.height = 2 * half;
  const context = canvas.getContext("2d");
  context.fillStyle = color;
  MARKERS[shape](context, half, half, radius);
  context.fill();
  return raster(context.getImageData(0, 0, canvas.width, canvas.height));
}

// An image whose pixels can be read as colors and as bytes.
function raster(image) {
  const { width, height, data } = image;
  return { image, width, height, bytes: data, colors: new Uint32Array(data.buffer) };
}

function paste(target, marker, left, top) { // over an opaque image
  const { width, bytes, colors } = target, side = marker.width;
  const first = Math.max(0, -left), last = Math.min(side, width - left), end = Math.min(side, target.height - top);
  for (let row = Math.max(0, -top); row < end; row++) {
    for (let column = first; column < last; column++) {
      const from = side * row + column, to = width * (top + row) + left + column, alpha = marker.bytes[4 * from + 3];
      if (alpha === 255) colors[to] = marker.colors[from];
      else if (alpha) blend(bytes, 4 * to, marker.bytes, 4 * from, alpha);
    }
  }
}

function blend(bytes, to, source, from, alpha) {
  for (let k = 0; k < 3; k++) bytes[to + k] += (alpha * (source[from + k] - bytes[to + k])) >> 8;
}
