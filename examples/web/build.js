// Bundles the page: node build.js [--out dist] [DEMO.onnx DEMO.jpg ...]
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
const { values, positionals } = parseArgs({
  options: { out: { type: 'string' } },
  allowPositionals: true,
});
const out = values.out ?? join(here, 'dist');
const demo = positionals.map((path) => basename(path));

if (!values.out) rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, 'demo'), { recursive: true });
positionals.forEach((path) => copyFileSync(path, join(out, 'demo', basename(path))));
copyFileSync(join(here, 'src/index.html'), join(out, 'index.html'));
// The second is the build for WebGPU.
for (const name of ['ort-wasm-simd-threaded', 'ort-wasm-simd-threaded.asyncify'])
  for (const suffix of ['mjs', 'wasm'])
    copyFileSync(join(here, 'node_modules/onnxruntime-web/dist', `${name}.${suffix}`), join(out, `${name}.${suffix}`));

const options = { bundle: true, minify: true, outdir: out, format: 'esm', logLevel: 'warning' };
await build({
  ...options,
  entryPoints: [join(here, 'src/page.js')],
  splitting: true,
  target: 'es2022',
  define: { DEMO: JSON.stringify(demo) },
});

const files = readdirSync(out, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(join(out, '/').length));
const hash = createHash('sha256');
for (const file of files) hash.update(readFileSync(join(out, file)));
await build({
  ...options,
  entryPoints: [join(here, 'src/sw.js')],
  define: {
    VERSION: JSON.stringify(hash.digest('hex').slice(0, 12)),
    // Not the large build for WebGPU: it is kept when it was used.
    FILES: JSON.stringify(['./', ...files.filter((file) => !file.includes('asyncify'))]),
  },
});
console.log(`${out}: ${files.length + 1} files; serve it from any static server, for example python -m http.server -d ${out}`);
