// Fetches by the npm package node-pop3; see ../scripted.py.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";

const { default: Pop3 } = await import(`${process.env.POP_MODULES}/node-pop3/src/Command.js`);
const { POP_PORT, POP_WAY, POP_NAME, POP_PASSWORD, POP_CA, POP_KEEP } = process.env;

const pop = new Pop3({
  user: POP_NAME,
  password: POP_PASSWORD,
  host: "localhost",
  port: Number(POP_PORT),
  tls: POP_WAY === "implicit",
  timeout: 60000,
  tlsOptions: { ca: readFileSync(POP_CA) },
});
const seen = existsSync("seen") ? readFileSync("seen", "latin1").split("\n") : [];
for (const [number, id] of await pop.UIDL()) {
  if (seen.includes(id)) continue;
  const [, stream] = await pop.command("RETR", number); // RETR() decodes as UTF-8
  const blocks = [];
  for await (const block of stream) blocks.push(block);
  writeFileSync(`out/${number.padStart(6, "0")}`, Buffer.concat(blocks));
  appendFileSync("seen", id + "\n");
  if (!POP_KEEP) await pop.DELE(number);
}
await pop.QUIT();
