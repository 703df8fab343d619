// The npm package `ws` talks to the chat plugin. Each test has its own server, because the chat sends to all clients of
// a server, including messages of an earlier test that are still in flight between two workers.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { on, once } from "node:events";
import { afterEach, beforeEach, test } from "node:test";
import WebSocket from "ws";
import { startServer } from "./server.mjs";

// In ms; every step takes far less.
const patience = 60_000; // with the messages of one client
const timeout = 120_000; // of one test
const sockets = new Set();
let server;

/** One chat client. `names` lists the clients of this test in the order in which they joined. */
class Client {
  static async join(names, path = "") {
    const client = new Client();
    client.socket = new WebSocket(new URL(path, server.url.replace(/^http/, "ws")));
    sockets.add(client.socket);
    client.inbox = on(client.socket, "message", { signal: AbortSignal.timeout(patience) });
    client.closed = once(client.socket, "close").then(([code, reason]) => [code, String(reason)]);
    client.earlier = [...names];
    const [, name] = (await client.next()).match(/^\* you are (guest-\S+)$/);
    names.push((client.name = name));
    const isCompressed = client.socket.extensions.includes("permessage-deflate");
    assert.equal(isCompressed, process.env.CALLSIGN_COMPRESSION !== "off", "the client offers compression");
    return client;
  }

  /**
   * The next message: a string if it is text, a Buffer if it is binary. Skips notices that earlier clients joined:
   * those from another worker may arrive after this client has joined.
   */
  async next() {
    for (;;) {
      const [data, isBinary] = (await this.inbox.next()).value;
      if (isBinary) return data;
      const text = String(data);
      if (!this.earlier.some((name) => text === `* ${name} joined`)) return text;
    }
  }
}

async function pair() {
  const names = [];
  const ann = await Client.join(names);
  const bob = await Client.join(names);
  assert.equal(await ann.next(), `* ${bob.name} joined`);
  return [ann, bob, names];
}

beforeEach(async (t) => {
  server = await startServer(t.name);
}, { timeout });

afterEach(async () => {
  for (const socket of sockets) socket.terminate();
  sockets.clear();
  await server.stop();
}, { timeout });

test("ws: a client receives its name, and the others that it joined", { timeout }, async () => {
  const [ann, bob] = await pair();
  assert.notEqual(ann.name, bob.name);
});

test("ws: any path can be upgraded", { timeout }, async () => {
  const ann = await Client.join([], "/some/where?x=1");
  assert.match(ann.name, /^guest-/);
});

test("ws: a text reaches the others and not its sender", { timeout }, async () => {
  const [ann, bob] = await pair();
  ann.socket.send("hello, Zoë 👋");
  assert.equal(await bob.next(), `${ann.name}: hello, Zoë 👋`);
  bob.socket.send("hi");
  assert.equal(await ann.next(), `${bob.name}: hi`);
});

test("ws: a new name is announced to everyone, including its owner", { timeout }, async () => {
  const [ann, bob] = await pair();
  ann.socket.send("/name ann");
  for (const client of [ann, bob]) assert.equal(await client.next(), `* ${ann.name} is now ann`);
  ann.socket.send("hello");
  assert.equal(await bob.next(), "ann: hello");
});

test("ws: binary of 0 B to 1 MiB arrives unchanged", { timeout }, async () => {
  const [ann, bob] = await pair();
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 1 << 20]) {
    const data = randomBytes(size);
    ann.socket.send(data);
    assert.ok(data.equals(await bob.next()), `${size} B`);
  }
});

test("ws: a text of almost 1 MiB arrives unchanged", { timeout }, async () => {
  const [ann, bob] = await pair();
  const text = "ä€𝄞-".repeat((1 << 20) / 10 - 10); // the name counts too
  ann.socket.send(text);
  assert.ok((await bob.next()) === `${ann.name}: ${text}`);
});

test("ws: a text in fragments, cut inside its characters, arrives as one message", { timeout }, async () => {
  const [ann, bob] = await pair();
  const bytes = [...Buffer.from("ä€𝄞")].map((byte) => Buffer.of(byte));
  bytes.forEach((byte, i) => ann.socket.send(byte, { binary: false, fin: i === bytes.length - 1 }));
  assert.equal(await bob.next(), `${ann.name}: ä€𝄞`);
});

test("ws: 1 MiB of binary in 64 fragments is one message; a ping amid them is answered", { timeout }, async () => {
  const [ann, bob] = await pair();
  const data = randomBytes(1 << 20);
  for (let i = 0; i < 64; i++) {
    if (i === 32) {
      ann.socket.ping("amid");
      const [payload] = await once(ann.socket, "pong");
      assert.equal(String(payload), "amid");
    }
    ann.socket.send(data.subarray(i << 14, (i + 1) << 14), { binary: true, fin: i === 63 });
  }
  assert.ok(data.equals(await bob.next()));
});

test("ws: 500 messages in a burst arrive in order", { timeout }, async () => {
  const [ann, bob] = await pair();
  for (let i = 0; i < 500; i++) ann.socket.send(String(i));
  for (let i = 0; i < 500; i++) assert.equal(await bob.next(), `${ann.name}: ${i}`);
});

for (const [how, close, code, announced] of [
  ["with 4001 bye", (socket) => socket.close(4001, "bye"), 4001, "4001 bye"],
  ["with 1000 and no reason", (socket) => socket.close(1000), 1000, "1000"],
  ["without a code", (socket) => socket.close(), 1005, "1005"],
  ["without a Close frame", (socket) => socket.terminate(), 1006, "1006"],
]) {
  test(`ws: a client that leaves ${how} is announced once`, { timeout }, async () => {
    const [ann, bob, names] = await pair();
    close(ann.socket);
    assert.equal((await ann.closed)[0], code);
    assert.equal(await bob.next(), `* ${ann.name} left (${announced})`);
    const eve = await Client.join(names);
    assert.equal(await bob.next(), `* ${eve.name} joined`);
  });
}

test("ws: the server's close, 1000 so long, reaches the client and is announced to the others", { timeout }, async () => {
  const [ann, bob] = await pair();
  ann.socket.send("/quit so long");
  assert.deepEqual(await ann.closed, [1000, "so long"]);
  assert.equal(await bob.next(), `* ${ann.name} left (1000 so long)`);
});
