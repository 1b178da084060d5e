// look.mjs PAGE DIRECTORY AXE - see `look` next to this file. Speaks the DevTools protocol through a pipe, so that it needs
// nothing but node and a Chromium.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [page, shots, axe] = process.argv.slice(2);
const views = [
  { name: 'light', width: 1200, scheme: 'light' },
  { name: 'dark', width: 1200, scheme: 'dark' },
  { name: 'narrow', width: 360, scheme: 'light' },
  { name: 'narrow-dark', width: 360, scheme: 'dark' },
];

const names = ['chromium', 'chromium-browser', 'google-chrome', 'chrome'];
const program = names.find((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status === 0);
if (!program) throw new Error(`none of ${names.join(', ')} is installed`);
const profile = mkdtempSync(join(tmpdir(), 'look-'));
const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run'];
const browser = spawn(program, [...flags, '--remote-debugging-pipe', `--user-data-dir=${profile}`, 'about:blank'], {
  stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
});

// Messages are JSON, each followed by a zero byte.
let last = 0;
const waiting = new Map();
const listeners = [];
let rest = '';
browser.stdio[4].setEncoding('utf8').on('data', (data) => {
  const messages = (rest + data).split('\0');
  rest = messages.pop();
  for (const message of messages.map((text) => JSON.parse(text))) {
    const answer = waiting.get(message.id);
    if (answer) {
      waiting.delete(message.id);
      message.error ? answer.reject(new Error(JSON.stringify(message.error))) : answer.resolve(message.result);
    } else {
      listeners.forEach((listen) => listen(message));
    }
  }
});
browser.on('exit', () => waiting.forEach(({ reject }) => reject(new Error(`${program} ended`))));
const send = (method, params = {}, sessionId = undefined) =>
  new Promise((resolve, reject) => {
    last += 1;
    waiting.set(last, { resolve, reject });
    browser.stdio[3].write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
  });

async function look({ name, width, scheme }) {
  const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
  const call = (method, params) => send(method, params, sessionId);
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  const messages = [];
  const requests = [];
  let loaded;
  const isLoaded = new Promise((resolve) => (loaded = resolve));
  listeners.push((message) => {
    if (message.sessionId !== sessionId) return;
    const { method, params } = message;
    if (method === 'Runtime.consoleAPICalled') messages.push(JSON.stringify(params.args));
    if (method === 'Runtime.exceptionThrown') messages.push(params.exceptionDetails.text);
    if (method === 'Log.entryAdded') messages.push(params.entry.text);
    if (method === 'Page.javascriptDialogOpening') messages.push(`dialog: ${params.message}`);
    if (method === 'Network.requestWillBeSent') requests.push(params.request.url);
    if (method === 'Page.loadEventFired') loaded();
  });
  for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await call(`${domain}.enable`);
  const height = 900;
  await call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
  await call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  const url = pathToFileURL(page).href;
  await call('Page.navigate', { url });
  await isLoaded;
  const { data } = await call('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
  writeFileSync(join(shots, `${name}.png`), Buffer.from(data, 'base64'));

  const overflow = await evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
  const scripts = await evaluate('document.scripts.length + document.images.length');
  // What the keyboard reaches, one Tab after the other.
  const tabbable = await evaluate("[...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')].filter((e) => e.checkVisibility()).length");
  let reached = 0;
  for (let n = 0; n < tabbable; n += 1) {
    const key = { key: 'Tab', code: 'Tab', windowsVirtualKeyCode: 9 };
    await call('Input.dispatchKeyEvent', { type: 'keyDown', ...key });
    await call('Input.dispatchKeyEvent', { type: 'keyUp', ...key });
    if (await evaluate("!!document.activeElement.closest('a, summary, [tabindex=\"0\"]')")) reached += 1;
  }
  await evaluate(readFileSync(axe, 'utf8'));
  const { violations, passes } = await evaluate(`axe.run().then(({ violations, passes }) => ({
    violations: violations.map(({ id, help, nodes }) => ({ id, help, where: nodes.map((node) => node.html.slice(0, 200)) })),
    passes: passes.map(({ id }) => id),
  }))`);
  await send('Target.closeTarget', { targetId });
  return { name, messages, requests: requests.filter((made) => made !== url), overflow, scripts, tabbable, reached, violations, passes };
}

try {
  const seen = [];
  for (const view of views) seen.push(await look(view));
  console.log(JSON.stringify(seen));
} finally {
  const ended = new Promise((resolve) => browser.on('exit', resolve));
  await send('Browser.close').catch(() => {});
  await ended;
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
}
