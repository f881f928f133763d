// From an image to the input of the graph, as mmthunder/runtime/preprocessing.py.

/**
 * Pixels of an image.
 *
 * @typedef {{data: Uint8Array|Float32Array, width: number, height: number, channels: number}} Pixels BGR or grayscale,
 *     row by row.
 */

/**
 * Decode an image file without color management, as OpenCV does.
 *
 * @param {Blob} file
 * @param {object} loader The first step of the pipeline.
 * @returns {Promise<ImageBitmap>}
 * @throws {DOMException} If the browser cannot decode it.
 */
export function decode(file, loader) {
  const isTurned = !loader.color_type.endsWith('ignore_orientation');
  const imageOrientation = isTurned ? 'from-image' : 'none';
  return createImageBitmap(file, { imageOrientation, colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
}

/**
 * Read the pixels of a decoded image or a frame.
 *
 * @param {CanvasImageSource} picture
 * @param {number} width
 * @param {number} height
 * @param {object} loader The first step of the pipeline.
 * @returns {Pixels}
 */
export function readPixels(picture, width, height, loader) {
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const channels = loader.color_type.startsWith('grayscale') ? 1 : 3;
  const data = new (loader.to_float32 ? Float32Array : Uint8Array)(width * height * channels);
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    if (channels === 1) data[i] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
    else [data[3 * i], data[3 * i + 1], data[3 * i + 2]] = [b, g, r];
  }
  return { data, width, height, channels };
}

const scaledSide = (side, factor) => Math.max(Math.floor(side * factor + 0.5), 1);

// The size that keeps the aspect ratio and fits into the longer and the shorter side of another.
function rescaled({ width, height }, [limitX, limitY]) {
  const factor = Math.min(
    Math.max(limitX, limitY) / Math.max(width, height),
    Math.min(limitX, limitY) / Math.min(width, height),
  );
  return [scaledSide(width, factor), scaledSide(height, factor)];
}

// For each cell of an axis after resizing: the cells before and after it, and the weight of the latter.
function linearAxis(before, after) {
  const first = new Int32Array(after);
  const second = new Int32Array(after);
  const weight = new Float32Array(after);
  for (let i = 0; i < after; i++) {
    const center = Math.fround((i + 0.5) / (after / before) - 0.5);
    const floor = Math.floor(center);
    first[i] = Math.min(Math.max(floor, 0), before - 1);
    second[i] = Math.min(Math.max(floor + 1, 0), before - 1);
    weight[i] = center - floor;
  }
  return { first, second, weight };
}

// The nearest even integer of those equally near, as OpenCV rounds.
const roundHalfEven = (value) => {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
};

// OpenCV's bilinear interpolation: of 8 bits with weights of 11 bits, otherwise in floating point.
function resizeBilinear({ data, width, height, channels }, newWidth, newHeight) {
  const result = new data.constructor(newWidth * newHeight * channels);
  const isFloat = data instanceof Float32Array;
  const isHalf = width === 2 * newWidth && height === 2 * newHeight; // OpenCV averages then
  const x = linearAxis(width, newWidth);
  const y = linearAxis(height, newHeight);
  const weight = (value) => (isFloat ? value : roundHalfEven(Math.fround(value * 2048)));
  const [x0, x1] = [Array.from(x.weight, (w) => weight(Math.fround(1 - w))), Array.from(x.weight, weight)];
  const [y0, y1] = [Array.from(y.weight, (w) => weight(Math.fround(1 - w))), Array.from(y.weight, weight)];
  let target = 0;
  for (let row = 0; row < newHeight; row++) {
    const top = y.first[row] * width * channels;
    const bottom = y.second[row] * width * channels;
    for (let column = 0; column < newWidth; column++) {
      const left = x.first[column] * channels;
      const right = x.second[column] * channels;
      for (let channel = 0; channel < channels; channel++) {
        const [a, b] = [data[top + left + channel], data[top + right + channel]];
        const [c, d] = [data[bottom + left + channel], data[bottom + right + channel]];
        const above = a * x0[column] + b * x1[column];
        const below = c * x0[column] + d * x1[column];
        if (isFloat) result[target++] = above * y0[row] + below * y1[row];
        else if (isHalf) result[target++] = (a + b + c + d + 2) >> 2;
        else result[target++] = (((y0[row] * (above >> 4)) >> 16) + ((y1[row] * (below >> 4)) >> 16) + 2) >> 2;
      }
    }
  }
  return { data: result, width: newWidth, height: newHeight, channels };
}

function resize(pixels, [width, height], interpolation) {
  if (width === pixels.width && height === pixels.height) return pixels;
  if (interpolation === 'bilinear') return resizeBilinear(pixels, width, height);
  const column = (i) => Math.min(Math.floor(i / (width / pixels.width)), pixels.width - 1);
  const row = (i) => Math.min(Math.floor(i / (height / pixels.height)), pixels.height - 1);
  return gather(pixels, width, height, column, row);
}

// An image whose pixels are those of given columns and rows; a constant where there is none.
function gather(pixels, width, height, columnOf, rowOf, constant = []) {
  const { channels } = pixels;
  const data = new pixels.data.constructor(width * height * channels);
  for (let y = 0, target = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const [column, row] = [columnOf(x), rowOf(y)];
      const isInside = column >= 0 && row >= 0;
      for (let channel = 0; channel < channels; channel++)
        data[target++] = isInside ? pixels.data[(row * pixels.width + column) * channels + channel] : constant[channel];
    }
  return { data, width, height, channels };
}

// The cell of an axis that padding takes its value from.
const PADDING = {
  constant: (i, size) => (i < size ? i : -1),
  edge: (i, size) => Math.min(i, size - 1),
  reflect: (i, size) => (size === 1 ? 0 : size - 1 - Math.abs((i % (2 * size - 2)) - (size - 1))),
  symmetric: (i, size) => (i % (2 * size) < size ? i % (2 * size) : 2 * size - 1 - (i % (2 * size))),
};

// Pad at the right and the bottom to at least a size.
function pad(pixels, leastWidth, leastHeight, values, mode) {
  const [width, height] = [Math.max(leastWidth, pixels.width), Math.max(leastHeight, pixels.height)];
  if (width === pixels.width && height === pixels.height) return pixels;
  const cell = PADDING[mode];
  return gather(pixels, width, height, (i) => cell(i, pixels.width), (i) => cell(i, pixels.height), values);
}

/**
 * Make the input of the graph.
 *
 * @param {Pixels} pixels
 * @param {object[]} steps The pipeline without its first step.
 * @returns {{pixels: Pixels, scale: number[]}} The input, and what x and y were multiplied by.
 */
export function preprocess(pixels, steps) {
  let scale = [1, 1];
  for (const step of steps) {
    const { width, height } = pixels;
    if (step.type === 'Resize') {
      const given = step.scale ?? [scaledSide(width, step.scale_factor[0]), scaledSide(height, step.scale_factor[1])];
      pixels = resize(pixels, step.keep_ratio ? rescaled(pixels, given) : given, step.interpolation);
      scale = [(scale[0] * pixels.width) / width, (scale[1] * pixels.height) / height];
    } else if (step.type === 'FixShapeResize') {
      const factor = Math.min(step.width / width, step.height / height);
      const fitting = rescaled(pixels, [scaledSide(width, factor), scaledSide(height, factor)]);
      pixels = resize(pixels, fitting, step.interpolation);
      pixels = pad(pixels, step.width, step.height, step.pad_val, 'constant');
      scale = scale.map((value) => value * factor);
    } else {
      let [right, bottom] = step.pad_to_square ? Array(2).fill(Math.max(width, height)) : [width, height];
      if (step.size_divisor !== null)
        [right, bottom] = [right, bottom].map((side) => Math.ceil(side / step.size_divisor) * step.size_divisor);
      else if (step.size !== null) [right, bottom] = step.size;
      pixels = pad(pixels, right, bottom, step.pad_val, step.padding_mode);
    }
  }
  return { pixels, scale };
}
