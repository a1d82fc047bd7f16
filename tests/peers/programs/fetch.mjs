// Fetches by Node's own sockets, pipelining without asking; see ../scripted.py.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";

const { POP_PORT, POP_WAY, POP_NAME, POP_PASSWORD, POP_CA, POP_KEEP } = process.env;
const trust = { host: "localhost", servername: "localhost", ca: readFileSync(POP_CA) };

let socket = null;
let buffered = Buffer.alloc(0);
let arrived = [];
let wake = () => {};

function listen(to) {
  socket = to;
  socket.on("data", (data) => {
    arrived.push(data);
    wake();
  });
  socket.on("error", (error) => { throw error; });
  socket.on("end", () => wake());
}

async function next() {
  while (!arrived.length) {
    if (socket.readableEnded) throw new Error("closed by the server");
    await new Promise((resolve) => { wake = resolve; });
  }
  return arrived.shift();
}

// Takes what comes before `end`, and `end` itself, which is not given back.
async function until(end) {
  const blocks = [];
  let octets = 0;
  let carried = Buffer.alloc(0);
  for (let block = buffered; ; block = await next()) {
    const joint = Buffer.concat([carried, block]);
    blocks.push(block);
    const at = joint.indexOf(end);
    if (at >= 0) {
      const all = Buffer.concat(blocks);
      const stop = octets - carried.length + at;
      buffered = all.subarray(stop + end.length);
      return all.subarray(0, stop).toString("latin1");
    }
    octets += block.length;
    carried = joint.subarray(-(end.length - 1));
  }
}

async function status() {
  const line = await until("\r\n");
  if (!line.startsWith("+OK")) throw new Error(line);
}

async function body() {
  await status();
  // Each line with the end of the one before it, so that an empty reply is like any other.
  buffered = Buffer.concat([Buffer.from("\r\n"), buffered]);
  const wire = await until("\r\n.\r\n");
  return (wire + "\r\n").slice(2).replace(/^\.|(?<=\r\n)\./g, "");
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
  plain.removeAllListeners();
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
