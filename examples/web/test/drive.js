// Uses the page in Chromium: reads steps as JSON from stdin, such as [["model", "a.onnx"], ["images", ["a.jpg"]]], and
// prints what each of them gives.  node drive.js DIST [CHROMIUM OPTION ...]
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { extname, join } from 'node:path';

import { chromium } from 'playwright-core';

const [dist, ...options] = process.argv.slice(2);
const steps = JSON.parse(readFileSync(0));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };
const server = createServer((request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname.replace(/\/$/, '/index.html');
  try {
    const content = readFileSync(join(dist, decodeURIComponent(path)));
    response.writeHead(200, { 'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream' }).end(content);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

const quiet = ['--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', ...quiet, ...options],
});
const results = [];
const errors = [];
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 720 } });
  page.setDefaultTimeout(180000);
  page.on('pageerror', (error) => errors.push(String(error)));
  const idle = () => page.waitForSelector('body[aria-busy="false"]');
  const actions = {
    model: (path) => page.setInputFiles('#model', path),
    images: (paths) => page.setInputFiles('#files', paths),
    click: (selector) => page.click(selector),
    text: (selector) => page.textContent(selector),
    count: (selector) => page.locator(selector).count(),
    wait: (selector) => page.waitForSelector(selector).then(() => null),
    uncheck: (selector) => page.uncheck(selector),
    score: (value) => page.fill('#score', String(value)),
    screenshot: (path) => page.screenshot({ path }).then(() => null),
    pixels: () => page.evaluate(() => Array.from(document.querySelector('canvas').getContext('2d').getImageData(0, 0, 9, 9).data)),
    drop: async (paths) => {
      const files = paths.map((path) => [path.split('/').pop(), readFileSync(path).toString('base64')]);
      await page.evaluate((given) => {
        const transfer = new DataTransfer();
        for (const [name, content] of given)
          transfer.items.add(new File([Uint8Array.from(atob(content), (char) => char.charCodeAt(0))], name));
        document.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, cancelable: true }));
      }, files);
    },
    save: async () => {
      const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
      return JSON.parse(readFileSync(await download.path()));
    },
    offline: async () => {
      await page.evaluate(() => navigator.serviceWorker.ready.then(() => null));
      await new Promise((resolve) => server.close(resolve) && server.closeAllConnections());
      await page.reload();
    },
  };
  await page.goto(`http://localhost:${server.address().port}/`);
  for (const [name, ...values] of steps) {
    await idle();
    results.push((await actions[name](...values)) ?? null);
    if (name !== 'click') await idle();
  }
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify({ results, errors }));
