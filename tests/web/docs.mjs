// The documentation in chromium, page by page; prints what it saw as JSON.
// node docs.mjs ADDRESS PACKAGES PAGE...: pages are paths below the address.

import { createRequire } from "node:module";
import path from "node:path";

const [address, packages, ...paths] = process.argv.slice(2);
const { chromium } = createRequire(path.join(packages, "playwright-core", "x.js"))("playwright-core");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
const page = await browser.newPage();
const inspected = ["", "web/", "reference/guidance/"]; // on long pages axe-core takes minutes
const seen = { errors: [], outside: [], wide: [], complaints: {} };
page.on("pageerror", (error) => seen.errors.push(error.message));
page.on("request", (request) => {
  if (!/^(blob:|data:)/.test(request.url()) && !request.url().startsWith(address)) seen.outside.push(request.url());
});
page.on("response", (response) => {
  if (response.status() >= 400) seen.errors.push(`${response.status()} ${response.url()}`);
});
for (const name of paths) {
  await page.goto(address + name);
  if (inspected.includes(name)) {
    for (const colorScheme of ["dark", "light"]) {
      await page.emulateMedia({ colorScheme });
      await page.reload();
      await page.addScriptTag({ path: path.join(packages, "axe-core", "axe.min.js") });
      const { violations } = await page.evaluate(() => axe.run({ exclude: ["iframe"] }));
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      const scheme = await page.evaluate(() => document.body.dataset.mdColorScheme);
      seen.complaints[`${name} ${scheme}`] = serious.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
    }
  }
  await page.setViewportSize({ width: 360, height: 740 });
  if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) seen.wide.push(name);
  await page.setViewportSize({ width: 1400, height: 900 });
}
await page.keyboard.press("Control+k");
await page.keyboard.type("karras_timesteps");
await page.getByText(/[0-9]+ results/).waitFor({ timeout: 60000 });
await browser.close();
console.log(JSON.stringify(seen));
