// Chromium opens the chat page in tabs. The tests type into the page and use WebSockets from its scripts. Each test has
// its own server. Screenshots of the page are stored in tests/.cache.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { startServer } from "./server.mjs";

// In ms; every step takes far less.
const patience = 60_000; // with one step
const timeout = 180_000; // of one test
const cache = fileURLToPath(new URL("../.cache/", import.meta.url));
let browser;
let context;
let server;
let url; // of this test's server

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
    timeout,
  });
  context = await browser.newContext({ viewport: { width: 760, height: 640 } });
  context.setDefaultTimeout(patience);
}, { timeout });

beforeEach(async (t) => {
  server = await startServer(t.name);
  url = server.url;
}, { timeout });

afterEach(async () => {
  await Promise.all(context.pages().map((page) => page.close()));
  await server.stop();
}, { timeout });

after(() => browser?.close(), { timeout });

/** A connected tab with the chat page, and the controls that a person would use. */
async function openTab(address = url) {
  const page = await context.newPage();
  await page.goto(address);
  const tab = {
    page,
    type: async (text) => {
      await page.getByRole("textbox", { name: "Message" }).fill(text);
      await page.keyboard.press("Enter");
    },
    sees: (text) => page.getByRole("log").getByText(text, { exact: true }).waitFor(),
    state: (pattern) => page.getByRole("status").filter({ hasText: pattern }).waitFor(),
    lines: (text) => page.getByRole("log").getByText(text, { exact: true }).count(),
  };
  await tab.state(/^connected as guest-/);
  tab.name = (await page.getByRole("status").innerText()).replace("connected as ", "");
  return tab;
}

test("chromium: the page is HTML in UTF-8", { timeout }, async () => {
  const answer = await fetch(url);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("content-type"), "text/html; charset=utf-8");
  assert.match(await answer.text(), /^<!doctype html>[^]*<\/html>\s*$/);
});

test("chromium: two tabs talk through the page; tests/.cache/chat-*.png show it", { timeout }, async () => {
  const [ann, bob] = [await openTab(), await openTab()];
  await ann.sees(`${bob.name} joined`);
  await ann.type("/name Ann");
  await bob.sees(`${ann.name} is now Ann`);
  await ann.state("connected as Ann");
  await bob.type("/name Zoë");
  await ann.sees(`${bob.name} is now Zoë`);

  await ann.type("Hello from the first tab ☺");
  await bob.sees("Hello from the first tab ☺");
  await bob.type("Hello back, from the second");
  await ann.sees("Hello back, from the second");
  const markup = "<b>Markup</b> stays text, and a longer message wraps in its bubble instead of leaving the window.";
  await bob.type(markup);
  await ann.sees(markup);
  assert.equal(await ann.lines("Hello from the first tab ☺"), 1, "a sender sees its message once");

  for (const colorScheme of ["light", "dark"]) {
    await ann.page.emulateMedia({ colorScheme });
    await ann.page.screenshot({ path: `${cache}chat-${colorScheme}.png` });
  }
});

test("chromium: /quit leaves with the server's reason, and a button joins again", { timeout }, async () => {
  const [ann, bob] = [await openTab(), await openTab()];
  await ann.type("/quit so long");
  await ann.state("left (1000 so long)");
  await bob.sees(`${ann.name} left (1000 so long)`);
  await ann.page.getByRole("button", { name: "Reconnect" }).click();
  await ann.state(/^connected as guest-/);
});

test("chromium: a page whose connection is cut joins again by itself, under its name", { timeout }, async (t) => {
  const { hostname, port } = new URL(url);
  const cut = new Set();
  const proxy = net.createServer((near) => {
    const far = net.connect(port, hostname);
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) cut.add(socket.on("error", () => {}));
  });
  t.after(() => proxy.close());
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  const ann = await openTab(`http://127.0.0.1:${proxy.address().port}/`);
  const bob = await openTab();
  await ann.type("/name Ann");
  await bob.sees(`${ann.name} is now Ann`);

  for (const socket of cut) socket.destroy();
  await bob.sees("Ann left (1006)");
  await bob.sees(/^guest-\S+ is now Ann$/);
  await ann.state("connected as Ann");
  await ann.type("back again");
  await bob.sees("back again");
});

test("chromium: scripts of the page exchange text and 1 MiB of binary unchanged", { timeout }, async () => {
  const { page } = await openTab();
  const result = await page.evaluate(async () => {
    const join = async () => {
      const socket = new WebSocket(location.href.replace("http", "ws"));
      socket.binaryType = "arraybuffer";
      await new Promise((resolve, reject) => { socket.onmessage = resolve; socket.onclose = reject; });
      return socket;
    };
    const [ann, bob] = [await join(), await join()];
    const next = () => new Promise((resolve) => {
      bob.onmessage = ({ data }) => String(data).startsWith("* ") || resolve(data); // notices are not for us
    });
    const binary = [];
    for (const size of [0, 125, 126, 65_535, 65_536, 1 << 20]) {
      const sent = new Uint8Array(size).map((_, i) => (i * 2_654_435_761) >>> 13);
      const answer = next();
      ann.send(sent);
      const received = new Uint8Array(await answer);
      binary.push(received.length === size && received.every((byte, i) => byte === sent[i]));
    }
    const long = "ä€𝄞-".repeat((1 << 20) / 10 - 10); // the name counts too
    const answer = next();
    ann.send(long);
    const text = (await answer).endsWith(`: ${long}`);
    const { extensions } = ann;
    ann.close();
    bob.close();
    return { binary, text, extensions };
  });
  const { extensions, ...received } = result;
  assert.deepEqual(received, { binary: Array(6).fill(true), text: true });
  const isCompressed = extensions.includes("permessage-deflate");
  assert.equal(isCompressed, process.env.CALLSIGN_COMPRESSION !== "off", "Chromium offers compression");
});

test("chromium: a page of another host opens no WebSocket, and its own host does", { timeout }, async () => {
  const page = await context.newPage();
  await page.goto(url.replace("127.0.0.1", "localhost"));
  const results = await page.evaluate((addresses) => Promise.all(addresses.map((address) => new Promise((resolve) => {
    const socket = new WebSocket(address);
    socket.onmessage = () => resolve("open");
    socket.onclose = ({ code }) => resolve(code);
  }))), [url.replace("http", "ws"), url.replace("http", "ws").replace("127.0.0.1", "localhost")]);
  assert.deepEqual(results, [1006, "open"]);
});

test("chromium: close codes and reasons are seen on both sides", { timeout }, async () => {
  const [watcher, tab] = [await openTab(), await openTab()];
  const closeEvents = await tab.page.evaluate(async () => {
    const session = (act) => new Promise((resolve) => {
      const socket = new WebSocket(location.href.replace("http", "ws"));
      let name;
      socket.onmessage = ({ data }) => {
        if (name) return;
        name = data.replace("* you are ", "");
        act(socket);
      };
      socket.onclose = ({ code, reason, wasClean }) => resolve({ name, code, reason, wasClean });
    });
    return [
      await session((socket) => socket.close(4001, "bye")),
      await session((socket) => socket.send("/quit so long")),
    ];
  });
  const [byClient, byServer] = closeEvents;
  await watcher.sees(`${byClient.name} left (4001 bye)`);
  await watcher.sees(`${byServer.name} left (1000 so long)`);
  assert.deepEqual([byClient.code, byClient.wasClean], [4001, true]);
  assert.deepEqual([byServer.code, byServer.reason, byServer.wasClean], [1000, "so long", true]);
});
