// What a person does with the page, in Debian's chromium; prints what it saw as JSON.
// node browser.mjs ADDRESS FOLDER PACKAGES: pictures and saved files go to the folder, where
// letters.json holds what is drawn, { letter: strokes }.

import { readFileSync } from "node:fs";
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

const draw = async (page, char, strokes) => {
  const index = await page.evaluate((char) => jdiff.cells.findIndex((cell) => cell.char === char), char);
  const canvas = page.locator("#cells canvas").nth(index);
  await canvas.scrollIntoViewIfNeeded();
  const { x, y, width } = await canvas.boundingBox();
  const at = (point) => [x + width * (0.25 + 0.3 * point[0]), y + width * (0.86 - 0.3 * point[1])];
  for (const [first, ...others] of strokes) {
    await page.mouse.move(...at(first));
    await page.mouse.down();
    for (const point of others) await page.mouse.move(...at(point));
    await page.mouse.up();
  }
};
const told = async (page) => {
  const done = () => !/^$|Learning/.test(document.querySelector("#own-message").textContent);
  await page.waitForFunction(done, null, { timeout: 240000 });
  return page.textContent("#own-message");
};
const save = async (page, button, name) => {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(button)]);
  await download.saveAs(`${folder}/${name}`);
};

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
for (const kind of ["svg", "png", "gif"]) await save(page, `[data-save=${kind}]`, `handwriting.${kind}`);
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

const own = await open();
await settled(own);
await own.focus("#tab-write");
await own.keyboard.press("ArrowLeft"); // the last tab
await draw(own, "i", [[[0.5, 1.5]]]);
await own.click("#learn");
seen.sentences.dot = await told(own);
await own.focus("[aria-label='Clear i']");
await own.keyboard.press("Enter");
await own.click("#learn");
await own.waitForFunction(() => /least/.test(document.querySelector("#own-message").textContent));
seen.sentences.letters = await told(own);
for (const [char, strokes] of Object.entries(JSON.parse(readFileSync(`${folder}/letters.json`))))
  await draw(own, char, strokes);
await own.screenshot({ path: `${folder}/own.png`, fullPage: true });
await inspect(own, "own");
await own.click("#learn");
await own.waitForFunction(() => jdiff.hand(), null, { timeout: 240000 });
await own.waitForFunction(() => /Learned/.test(document.querySelector("#own-message").textContent));
seen.own = { message: await told(own), letters: await letters(own) };
Object.assign(seen.own, await own.evaluate(() => ({ cells: jdiff.cells.map(({ char, strokes }) => ({ char, strokes })), code: jdiff.hand() })));
seen.own.arrays = await own.evaluate(() => jdiff.arrays().map((x) => [...x]));
await save(own, "#save-hand", "hand.json");
await own.screenshot({ path: `${folder}/learned.png`, fullPage: true });
await own.click("#go-on");
await own.screenshot({ path: `${folder}/mine.png` });
await inspect(own, "mine");
await own.selectOption("#whose", "seed");
await settled(own);
seen.own.seed = await letters(own);

const small = await open({ viewport: { width: 360, height: 740 }, colorScheme: "dark" });
await settled(small);
await small.screenshot({ path: `${folder}/small.png` });
await inspect(small, "dark");
const isWide = () => small.evaluate(() => document.documentElement.scrollWidth > innerWidth);
seen.overflow = await isWide();
await small.click("#tab-own");
await small.setInputFiles("#hand-file", `${folder}/light.png`);
seen.sentences.file = await told(small);
await small.setInputFiles("#hand-file", `${folder}/hand.json`);
await small.waitForFunction(() => jdiff.hand() && !document.querySelector("#preview").hidden);
await settled(small);
seen.loaded = await letters(small);
await small.screenshot({ path: `${folder}/small_own.png`, fullPage: true });
await inspect(small, "own dark");
seen.overflow ||= await isWide();

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
