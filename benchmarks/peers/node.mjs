// A short Node script without dependencies: streams the file, groups users by op and group, sends full ops at once.
// `node node.mjs INPUT.csv URL [--rows N]`; 8 requests in flight, no results kept, the order of changes is not.
// The seconds count from the process's start to the last reply.
import { createReadStream } from "node:fs";
import { Agent, request } from "node:http";

const [input, url, , limit = "Infinity"] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 8 }), flying = new Set(), groups = new Map();
let rows = -1, ops = [], changes = 0; // the header is row -1

function send() {
  const body = JSON.stringify(ops);
  const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) };
  const sent = new Promise((done, fail) => request(url, { method: "PATCH", agent, headers }, reply =>
    reply.statusCode < 300 ? reply.resume().on("end", done) : fail(Error(`status ${reply.statusCode}`))
  ).on("error", fail).end(body)).then(() => flying.delete(sent));
  [ops, changes] = [[], 0], flying.add(sent);
}

async function put(key, users) {
  if (changes + users.length > 5000 || ops.length === 50) send();
  const [op, group] = key.split(" ");
  changes += users.length, ops.push({ op, path: "/membership", users, groups: [Number(group)] });
  while (flying.size >= 8) await Promise.race(flying);
}

async function* blocks() {
  let rest = "";
  for await (const chunk of createReadStream(input, { encoding: "latin1", highWaterMark: 1 << 20 })) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    yield lines;
  }
  if (rest) yield [rest];
}

setTimeout(() => { console.error("not done after 300 seconds"); process.exit(1); }, 300_000).unref();
reading: for await (const lines of blocks()) for (const line of lines) {
  if (rows >= limit) break reading;
  if (rows++ < 0) continue;
  const [op, user, group] = line.split(","), key = `${op} ${group}`;
  const users = groups.get(key) ?? groups.set(key, []).get(key);
  if (users.push(Number(user)) === 1000) groups.delete(key), await put(key, users);
}
for (const [key, users] of groups) await put(key, users);
if (ops.length) send();
await Promise.all(flying);
agent.destroy();
console.log(JSON.stringify({ rows, seconds: Math.round(performance.now()) / 1000 }));
