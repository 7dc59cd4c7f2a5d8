// What a person does with the page, in Debian's chromium; prints what it saw as JSON.
// node browser.mjs ADDRESS FOLDER: pictures and saved files go to the folder.

import { createRequire } from "node:module";
import path from "node:path";

const [address, folder, packages] = process.argv.slice(2);
const { chromium } = createRequire(path.join(packages, "playwright-core", "x.js"))("playwright-core");
const launch = (...flags) => chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", ...flags],
});
const browser = await launch();
const seen = { errors: [], outside: [], complaints: {}, weight: 0 };
const open = async (options = {}, prepare = async () => {}) => {
  const page = await browser.newPage({ viewport: { width: 900, height: 800 }, ...options });
  page.on("pageerror", (error) => seen.errors.push(error.message));
  page.on("request", (request) => {
    if (!/^(blob:|data:)/.test(request.url()) && !request.url().startsWith(address)) seen.outside.push(request.url());
  });
  await prepare(page);
  await page.goto(address);
  return page;
};
// What axe-core finds wrong for people who see, hear or move less.
const inspect = async (page, name) => {
  await page.addScriptTag({ path: path.join(packages, "axe-core", "axe.min.js") });
  const { violations } = await page.evaluate(() => axe.run());
  seen.complaints[name] = violations.map(({ id, impact, nodes }) => `${impact}: ${id}: ${nodes[0].html}`);
};
const message = (page) => page.textContent("#message");
const settled = (page) =>
  page.waitForFunction(() => !/Loading|Writing/.test(document.querySelector("#message").textContent), null, { timeout: 60000 });
const type = async (page, text) => {
  await page.fill("#text", text);
  await settled(page);
};
const slide = async (page, id, value) => {
  await page.$eval(`#${id}`, (input, value) => {
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }, String(value));
  await settled(page);
};
const letters = (page) => page.evaluate(() => jdiff.drawn().path.at(-1).map((x) => [...x]));

const weighed = [];
const page = await open({}, async (page) => {
  page.on("requestfinished", (request) => weighed.push(request.sizes()));
});
await settled(page);
for (const { responseBodySize } of await Promise.all(weighed)) seen.weight += responseBodySize;
seen.paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
seen.first = await message(page);
seen.letters = await letters(page);
seen.strokes = await page.evaluate(() => jdiff.page().strokes);
await page.screenshot({ path: `${folder}/light.png` });
await inspect(page, "write");
await slide(page, "steps", 10);
seen.again = await message(page);
for (const kind of ["svg", "png", "gif"]) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(`[data-save=${kind}]`)]);
  await download.saveAs(`${folder}/handwriting.${kind}`);
}
await slide(page, "steps", 3);
seen.fewer = await page.evaluate(() => jdiff.drawn().path.length);
await slide(page, "seed", 8);
seen.other = await letters(page);
const upright = await page.evaluate(() => JSON.stringify(jdiff.page().strokes));
await slide(page, "slant", 2);
seen.slanted = upright !== (await page.evaluate(() => JSON.stringify(jdiff.page().strokes)));
await page.click("#noise");
await page.click("#pen");
await page.focus("#tab-write");
await page.keyboard.press("ArrowRight");
await page.waitForFunction(() => document.querySelector("#curves path"), null, { timeout: 60000 });
seen.how = await page.isVisible("#x_t");
await slide(page, "step", 6);
await page.screenshot({ path: `${folder}/how.png` });
await inspect(page, "how");
await page.keyboard.press("Shift+Tab");
await page.click("#tab-write");
seen.sentences = {};
// Pasted: the longest time between two frames says whether the page was frozen.
seen.freeze = await page.evaluate(async (text) => {
  const times = [performance.now()];
  const tick = (now) => times.push(now) < 20 && requestAnimationFrame(tick);
  requestAnimationFrame(tick);
  document.querySelector("#text").value = text;
  document.querySelector("#text").dispatchEvent(new Event("input"));
  while (times.length < 20) await new Promise((resolve) => setTimeout(resolve, 10));
  return Math.max(...times.slice(1).map((time, i) => time - times[i]));
}, "The quick brown fox. ".repeat(500));
seen.sentences.pasted = await message(page);
for (const [name, text] of [["unknown", "a \u4f60"], ["long", "x".repeat(10000)], ["empty", "  "], ["wide", "m".repeat(60)]]) {
  await type(page, text);
  seen.sentences[name] = await message(page);
}
await type(page, "fine again");
seen.after = await message(page);
await slide(page, "seed", 1000);
seen.sentences.seed = await message(page);

const small = await open({ viewport: { width: 360, height: 740 }, colorScheme: "dark" });
await settled(small);
await small.screenshot({ path: `${folder}/small.png` });
await inspect(small, "dark");
seen.overflow = await small.evaluate(() => document.documentElement.scrollWidth > innerWidth);

const missing = await open({}, (page) => page.route("**/model.onnx", (route) => route.abort()));
await settled(missing);
seen.sentences.missing = await message(missing);
const old = await open({}, (page) => page.route("**/model.json", (route) => route.fulfill({ body: '{"format":"jdiff-export-0"}' })));
await settled(old);
seen.sentences.version = await message(old);
const torn = await open({}, (page) => page.route("**/ort.wasm.min.mjs", (route) => route.abort()));
await settled(torn);
seen.sentences.torn = await message(torn);
await browser.close();

const plain = await launch("--js-flags=--jitless");
const without = await plain.newPage();
await without.goto(address);
await settled(without);
seen.sentences.wasm = await message(without);
await plain.close();
console.log(JSON.stringify(seen));
