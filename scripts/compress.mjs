// Files compressed for servers that send them so: F becomes F.br beside it.
// node compress.mjs FILE...

import { readFile, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";

const params = {
  [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
  [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
};
await Promise.all(process.argv.slice(2).map(async (file) => {
  const packed = await promisify(brotliCompress)(await readFile(file), { params });
  await writeFile(`${file}.br`, packed);
}));
