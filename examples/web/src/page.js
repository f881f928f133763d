// The page: files and camera in, boxes, times and a table out.

import { Detector } from './detector.js';
import { decode } from './preprocessing.js';

const element = (id) => document.getElementById(id);
const context = element('picture').getContext('2d');

const NO_MODEL = 'First choose an ONNX file of tools/deployment/export_onnx.py.';

let detector = null;
let modelBytes = null;
let images = []; // {name, file} of all images, and {width, height, detections, times} of those that were run
let shown = null; // {picture, width, height, detections, times}
let camera = null;
let queue = Promise.resolve(); // the runtime runs one image at a time
let waiting = 0;

const isModel = (file) => /\.onnx$/i.test(file.name);
const colorOf = (label) => `hsl(${(label * 137.5) % 360} 90% 38%)`;

function say(text, isError = false) {
  const message = element('message');
  message.textContent = text;
  message.classList.toggle('error', isError);
}

// Run one task after the other; what fails is said.
function enqueue(task) {
  const end = () => (document.body.ariaBusy = String(--waiting > 0));
  document.body.ariaBusy = String(++waiting > 0);
  queue = queue.then(task).catch((error) => say(error.message, true)).finally(end);
  return queue;
}

function cell(row, text) {
  row.insertCell().textContent = text;
}

// Detections that the slider and the list of classes leave.
function selected() {
  const threshold = Number(element('score').value);
  const hidden = new Set(
    [...document.querySelectorAll('#classes input:not(:checked)')].map((input) => Number(input.value)),
  );
  return shown.detections.filter(({ score, label }) => score >= threshold && !hidden.has(label));
}

function draw() {
  element('score-value').textContent = Number(element('score').value).toFixed(2);
  if (!shown) return;
  const { picture, width, height, times } = shown;
  const detections = selected();
  Object.assign(context.canvas, { width, height });
  context.drawImage(picture, 0, 0);
  const line = Math.max(1, Math.round(Math.min(width, height) / 300));
  context.lineWidth = line;
  context.font = `${7 + 4 * line}px sans-serif`;
  context.textBaseline = 'top';
  for (const { box, score, label } of detections) {
    const [x1, y1, x2, y2] = box;
    const text = `${detector.classes[label]} ${score.toFixed(2)}`;
    context.strokeStyle = context.fillStyle = colorOf(label);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const textHeight = 9 + 4 * line;
    const top = Math.max(y1 - textHeight, 0);
    context.fillRect(x1, top, context.measureText(text).width + 4, textHeight);
    context.fillStyle = 'white';
    context.fillText(text, x1 + 2, top + 2);
  }
  const body = element('detections');
  body.replaceChildren();
  for (const { box, score, label } of detections) {
    const row = body.insertRow();
    for (const text of [detector.classes[label], score.toFixed(3), ...box.map((side) => side.toFixed(1))]) cell(row, text);
  }
  element('count').textContent = `${detections.length} of ${shown.detections.length} detections`;
  element('times').replaceChildren();
  for (const [step, time] of Object.entries(times)) {
    const row = element('times').insertRow();
    cell(row, step);
    cell(row, `${time.toFixed(1)} ms`);
  }
}

function listClasses() {
  const items = detector.classes.map((name, label) => {
    const item = document.createElement('label');
    const box = Object.assign(document.createElement('input'), { type: 'checkbox', checked: true, value: label });
    box.addEventListener('change', draw);
    item.style.color = colorOf(label);
    item.append(box, name);
    return item;
  });
  element('classes').replaceChildren(...items);
}

async function loadModel(file) {
  say(`Loading ${file.name} ...`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  let loaded;
  try {
    loaded = await Detector.load(bytes, element('backend').value);
  } catch (error) {
    throw new Error(`${file.name}: ${error.message}`);
  }
  [detector, modelBytes, shown] = [loaded, file, null];
  element('score').min = detector.scoreThr;
  listClasses();
  element('model-name').textContent = file.name;
  for (const image of images) delete image.detections;
}

async function detectFile(image) {
  if (!detector || image.detections) return;
  const start = performance.now();
  let reason = 'not an image that this browser can read';
  try {
    const picture = await decode(image.file, detector.loader);
    const decoding = performance.now() - start;
    reason = '';
    const { width, height } = picture;
    const { detections, times } = await detector.detect(picture, width, height);
    Object.assign(image, { width, height, detections, times: { decoding, ...times } });
    show(image, picture);
  } catch (error) {
    images = images.filter((other) => other !== image);
    listImages();
    throw new Error(`${image.name}: ${reason || error.message}; left out`);
  }
}

function show(image, picture) {
  shown = { ...image, picture };
  element('images').value = images.indexOf(image);
  element('save').disabled = false;
  draw();
}

function listImages() {
  element('images').replaceChildren(...images.map(({ name }, i) => new Option(name, i)));
  element('images').disabled = !images.length;
}

// Take files of any kind: the model first, then images.
function takeFiles(files) {
  const models = files.filter(isModel);
  const added = files.filter((file) => !isModel(file)).map((file) => ({ name: file.name, file }));
  if (added.length) stopCamera();
  images.push(...added);
  listImages();
  const failures = [];
  const attempt = (task) => enqueue(() => task().catch((error) => failures.push(error.message)));
  if (models.length) attempt(() => loadModel(models.at(-1)));
  for (const image of [...images]) attempt(() => detectFile(image));
  return enqueue(() => {
    const done = images.filter(({ detections }) => detections).length;
    if (failures.length) say(failures.join('\n'), true);
    else if (done) say(`${done} image${done > 1 ? 's' : ''} done.`);
    else say(detector ? 'Now choose images, or start the camera.' : NO_MODEL);
  });
}

// COCO's result format, as the other runtimes write it.
function saveResults() {
  const results = images.flatMap(({ name, detections }, i) =>
    (detections ?? []).map(({ box: [x1, y1, x2, y2], score, label }) => ({
      image_id: i,
      category_id: detector.categoryIds[label],
      bbox: [x1, y1, x2 - x1, y2 - y1],
      score,
      file_name: name,
    })),
  );
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(results)], { type: 'application/json' }));
  link.download = 'detections.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function stopCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  element('camera').textContent = 'Camera';
}

async function startCamera() {
  if (!detector) throw new Error(NO_MODEL);
  const video = document.createElement('video');
  try {
    // There is no mediaDevices on pages that are neither https nor localhost.
    camera = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch (error) {
    const reason = error.name === 'NotAllowedError' ? 'the browser may not use it' : 'there is none, or it is in use';
    throw new Error(navigator.mediaDevices ? `No camera: ${reason}.` : 'No camera: it needs https or localhost.');
  }
  Object.assign(video, { srcObject: camera, muted: true });
  await video.play();
  element('camera').textContent = 'Stop camera';
  say('');
  while (camera) {
    const picture = await createImageBitmap(video);
    const { width, height } = picture;
    const result = queue.then(() => detector.detect(picture, width, height));
    queue = result.catch(() => {});
    const { detections, times } = await result;
    shown?.picture?.close?.();
    shown = { picture, width, height, detections, times };
    draw();
    await new Promise(requestAnimationFrame);
  }
}

async function loadDemo(demo) {
  const fetchFile = async (name) => new File([await (await fetch(`demo/${name}`)).blob()], name);
  takeFiles(await Promise.all(demo.map(fetchFile)));
}

for (const id of ['model', 'files'])
  element(id).addEventListener('change', ({ target }) => {
    takeFiles([...target.files]);
    target.value = '';
  });
element('score').addEventListener('input', draw);
element('save').addEventListener('click', saveResults);
element('camera').addEventListener('click', () => {
  if (camera) return stopCamera();
  return startCamera().catch((error) => {
    stopCamera();
    say(error.message, true);
  });
});
element('images').addEventListener('change', ({ target }) => {
  const image = images[Number(target.value)];
  if (image.detections) enqueue(async () => show(image, await decode(image.file, detector.loader)));
});
element('backend').addEventListener('change', () => modelBytes && takeFiles([modelBytes]));
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', (event) => {
  event.preventDefault();
  takeFiles([...event.dataTransfer.files]);
});

element('demo').addEventListener('click', () => loadDemo(DEMO).catch((error) => say(error.message, true)));
element('demo').hidden = !DEMO.length;
const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
element('webgpu').disabled = !adapter;
// Makes the page work offline.
await navigator.serviceWorker?.register('sw.js').catch(() => {});
document.body.ariaBusy = 'false';
