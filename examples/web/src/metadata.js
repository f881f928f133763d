// Metadata of exported files, as mmthunder/runtime/metadata.py. ONNX Runtime Web does not give access to them.

const MAX_SIDE = 2 ** 15 - 1;

// The next field of a protobuf message: its number, its bytes, if it has a length, and where it ends.
function readField(bytes, start) {
  let position = start;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (position >= bytes.length || factor > 2 ** 63) throw new RangeError('not a protobuf message');
      const byte = bytes[position++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  const tag = varint();
  const length = { 0: () => varint() * 0, 1: () => 8, 2: varint, 5: () => 4 }[tag % 8];
  if (!length || tag < 8) throw new RangeError('not a protobuf message');
  const size = length();
  if (position + size > bytes.length) throw new RangeError('not a protobuf message');
  return { number: Math.floor(tag / 8), content: bytes.subarray(position, position + size), end: position + size };
}

function* readFields(bytes) {
  for (let position = 0; position < bytes.length; ) {
    const field = readField(bytes, position);
    yield field;
    position = field.end;
  }
}

// metadata_props of a ModelProto: its field 14 has a key, field 1, and a value, field 2.
function readProperties(bytes) {
  const text = new TextDecoder();
  const properties = {};
  for (const { number, content } of readFields(bytes)) {
    if (number !== 14) continue;
    const entry = {};
    for (const field of readFields(content)) entry[field.number] = text.decode(field.content);
    properties[entry[1]] = entry[2];
  }
  return properties;
}

const isList = (value, isItem) => Array.isArray(value) && value.every(isItem);
const isSide = (value) => Number.isInteger(value) && value > 0 && value <= MAX_SIDE;
const isBoolean = (value) => typeof value === 'boolean';
const isPair = (value, isItem) => isList(value, isItem) && value.length === 2;
const isOneOf = (...names) => [(value) => names.includes(value), `one of ${names.join(', ')}`];
const isNumber = (value) => typeof value === 'number' && Math.abs(value) <= 1e6;
const orNull = (isValue) => (value) => value === null || isValue(value);

const EXPECTED = {
  classes: [(value) => isList(value, (name) => typeof name === 'string') && value.length > 0, 'a list of names'],
  category_ids: [(value) => isList(value, (id) => Number.isInteger(id) || typeof id === 'string'), 'a list of ids'],
  score_thr: [(value) => typeof value === 'number' && value >= 0 && value <= 1, 'a number from 0 to 1'],
};

const sizeOrNull = [orNull((value) => isPair(value, isSide)), 'width and height in pixels or null'];
const interpolation = isOneOf('nearest', 'bilinear');
const padVal = [(value) => isList(value, isNumber) && value.length >= 1 && value.length <= 3, 'a list of numbers'];
const STEPS = {
  LoadImageFromFile: {
    color_type: isOneOf('color', 'grayscale', 'color_ignore_orientation', 'grayscale_ignore_orientation'),
    to_float32: [isBoolean, 'true or false'],
  },
  Resize: {
    scale: sizeOrNull,
    scale_factor: [orNull((value) => isPair(value, (item) => isNumber(item) && item > 0)), 'two factors or null'],
    keep_ratio: [isBoolean, 'true or false'],
    interpolation,
  },
  FixShapeResize: { width: [isSide, 'pixels'], height: [isSide, 'pixels'], pad_val: padVal, interpolation },
  Pad: {
    size: sizeOrNull,
    size_divisor: [orNull(isSide), 'pixels or null'],
    pad_to_square: [isBoolean, 'true or false'],
    pad_val: padVal,
    padding_mode: isOneOf('constant', 'edge', 'reflect', 'symmetric'),
  },
};

function check(value, [isValid, expected], place) {
  if (isValid(value)) return;
  const text = value === undefined ? 'missing' : `${JSON.stringify(value)}`.slice(0, 60);
  throw new Error(`${place} in its metadata is ${text}, expected ${expected}`);
}

function checkPipeline(pipeline) {
  check(pipeline, [(value) => isList(value, (step) => step !== null) && value.length > 0, 'a list of steps'], 'pipeline');
  pipeline.forEach((step, i) => {
    const types = Object.keys(STEPS).filter((type) => (type === 'LoadImageFromFile') === (i === 0));
    check(step.type, isOneOf(...types), `pipeline[${i}].type`);
    for (const [key, expected] of Object.entries(STEPS[step.type])) check(step[key], expected, `pipeline[${i}].${key}`);
    if (step.type === 'Resize' && (step.scale === null) === (step.scale_factor === null))
      throw new Error(`pipeline[${i}] in its metadata has scale and scale_factor, or neither; expected one of them`);
  });
}

/**
 * Read and check the metadata of a file.
 *
 * @param {Uint8Array} bytes The file.
 * @returns {{classes: string[], category_ids: (number|string)[], score_thr: number, pipeline: object[]}}
 * @throws {Error} If it is no exported detector; the message names the key.
 */
export function readMetadata(bytes) {
  let properties = {};
  try {
    properties = readProperties(bytes);
  } catch {
    throw new Error('not an ONNX file');
  }
  if (!['mmthunder detector 1', 'mmthunder detector 2'].includes(properties.format))
    throw new Error('not a detector of tools/deployment/export_onnx.py (its metadata has no such format)');
  const metadata = {};
  for (const key of ['classes', 'category_ids', 'score_thr', 'scale', 'keep_ratio', 'pipeline']) {
    try {
      metadata[key] = JSON.parse(properties[key]);
    } catch {
      metadata[key] = undefined;
    }
  }
  for (const [key, expected] of Object.entries(EXPECTED)) check(metadata[key], expected, key);
  if (metadata.classes.length !== metadata.category_ids.length)
    throw new Error(`category_ids in its metadata has ${metadata.category_ids.length} ids, expected one for each class`);
  const { scale, keep_ratio, ...rest } = metadata;
  if (properties.format === 'mmthunder detector 1')
    // This format has the arguments of one Resize in place of the pipeline.
    rest.pipeline = [
      { type: 'LoadImageFromFile', color_type: 'color', to_float32: false },
      { type: 'Resize', scale, scale_factor: null, keep_ratio, interpolation: 'bilinear' },
    ];
  checkPipeline(rest.pipeline);
  return rest;
}
