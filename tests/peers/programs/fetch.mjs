// Fetches by Node's own sockets, pipelining without asking; see ../scripted.py.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";

const { POP_PORT, POP_WAY, POP_NAME, POP_PASSWORD, POP_CA, POP_KEEP } = process.env;
const trust = { host: "localhost", servername: "localhost", ca: readFileSync(POP_CA) };

let socket = null;
let buffered = Buffer.alloc(0);
let wake = () => {};

function listen(to) {
  socket = to;
  buffered = Buffer.alloc(0);
  socket.on("data", (data) => {
    buffered = Buffer.concat([buffered, data]);
    wake();
  });
  socket.on("error", (error) => { throw error; });
  socket.on("end", () => wake());
}

async function until(find) {
  for (;;) {
    const end = find();
    if (end >= 0) {
      const taken = buffered.subarray(0, end);
      buffered = buffered.subarray(end);
      return taken;
    }
    if (socket.readableEnded) throw new Error("closed by the server");
    await new Promise((resolve) => { wake = resolve; });
  }
}

function after(mark) {
  const at = buffered.indexOf(mark);
  return at < 0 ? -1 : at + mark.length;
}

async function status() {
  const line = await until(() => after("\r\n"));
  const text = line.toString("latin1");
  if (!text.startsWith("+OK")) throw new Error(text);
  return text;
}

async function body() {
  await status();
  const whole = () => (buffered.subarray(0, 3).toString() === ".\r\n" ? 3 : after("\r\n.\r\n"));
  const wire = (await until(whole)).toString("latin1").slice(0, -3);
  return wire.replace(/(^|\r\n)\./g, "$1");
}

const send = (...lines) => socket.write(lines.map((line) => line + "\r\n").join(""));

async function connected(event) {
  await new Promise((resolve, reject) => { socket.once(event, resolve).once("error", reject); });
}

if (POP_WAY === "implicit") {
  listen(tls.connect({ ...trust, port: POP_PORT }));
} else {
  listen(net.connect(POP_PORT, "127.0.0.1"));
}
await status();
if (POP_WAY === "starttls") {
  send("STLS");
  await status();
  const plain = socket;
  plain.removeAllListeners("data");
  plain.removeAllListeners("end");
  listen(tls.connect({ ...trust, socket: plain }));
  await connected("secureConnect");
}
send(`USER ${POP_NAME}`, `PASS ${POP_PASSWORD}`, "UIDL");
await status();
await status();
const listed = (await body()).split("\r\n").filter(Boolean).map((line) => line.split(" "));
const seen = existsSync("seen") ? readFileSync("seen", "latin1").split("\n") : [];
const fresh = listed.filter(([, id]) => !seen.includes(id));
for (const [number] of fresh) {
  send(`RETR ${number}`, ...(POP_KEEP ? [] : [`DELE ${number}`]));
}
send("QUIT");
for (const [number, id] of fresh) {
  writeFileSync(`out/${number.padStart(6, "0")}`, Buffer.from(await body(), "latin1"));
  appendFileSync("seen", id + "\n");
  if (!POP_KEEP) await status();
}
await status();
socket.end();
