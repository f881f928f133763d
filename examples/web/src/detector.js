// An exported detector in ONNX Runtime Web, as mmthunder/runtime/detector.py.

import { readMetadata } from './metadata.js';
import { preprocess, readPixels } from './preprocessing.js';

// The build for WebGPU is twice as large, so each is loaded when it is needed.
const RUNTIMES = {
  wasm: () => import('onnxruntime-web/wasm'),
  webgpu: () => import('onnxruntime-web/webgpu'),
};

/** @typedef {{box: number[], score: number, label: number}} Detection x1, y1, x2, y2 in pixels of the image. */

export class Detector {
  /**
   * Load a file of tools/deployment/export_onnx.py.
   *
   * @param {Uint8Array} bytes The file.
   * @param {'wasm'|'webgpu'} backend
   * @returns {Promise<Detector>}
   * @throws {Error} If it is not such a file, or the runtime cannot load it.
   */
  static async load(bytes, backend) {
    const metadata = readMetadata(bytes);
    const ort = await RUNTIMES[backend]();
    ort.env.wasm.wasmPaths = new URL('./', document.baseURI).href;
    ort.env.logLevel = 'error';
    let session;
    try {
      session = await ort.InferenceSession.create(bytes, { executionProviders: [backend] });
    } catch (error) {
      throw new Error(`ONNX Runtime cannot load it with ${backend} (${error.message.split('\n')[0]})`);
    }
    return new Detector(ort, session, metadata);
  }

  constructor(ort, session, metadata) {
    this.ort = ort;
    this.session = session;
    this.classes = metadata.classes;
    this.categoryIds = metadata.category_ids;
    this.scoreThr = metadata.score_thr;
    [this.loader, ...this.steps] = metadata.pipeline;
  }

  /**
   * Detect objects in a decoded image.
   *
   * @param {CanvasImageSource} picture
   * @param {number} width
   * @param {number} height
   * @returns {Promise<{detections: Detection[], times: {preprocessing: number, graph: number}}>} By descending score;
   *     times in milliseconds.
   */
  async detect(picture, width, height) {
    const start = performance.now();
    const { pixels, scale } = preprocess(readPixels(picture, width, height, this.loader), this.steps);
    // A graph of a larger fixed batch size gets the image several times.
    const batch = Number(this.session.inputMetadata[0].shape[0]) || 1;
    const data = new pixels.data.constructor(batch * pixels.data.length);
    for (let i = 0; i < batch; i++) data.set(pixels.data, i * pixels.data.length);
    const type = this.loader.to_float32 ? 'float32' : 'uint8';
    const images = new this.ort.Tensor(type, data, [batch, pixels.height, pixels.width, pixels.channels]);
    const middle = performance.now();
    const { boxes, scores, labels } = await this.session.run({ [this.session.inputNames[0]]: images });
    const end = performance.now();
    const detections = [];
    for (let i = 0; i < scores.dims[1]; i++) {
      const label = Number(labels.data[i]);
      if (label < 0) continue;
      const box = Array.from(boxes.data.subarray(4 * i, 4 * i + 4), (value, k) => value / scale[k % 2]);
      detections.push({ box, score: scores.data[i], label });
    }
    return { detections, times: { preprocessing: middle - start, graph: end - middle } };
  }
}
