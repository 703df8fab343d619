// Chromium and Node open several WebSockets over one connection of HTTP/2 (RFC 8441). The certificate is made for the tests;
// Chromium does not verify it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";
import { startServer } from "./server.mjs";

// In ms; every step takes far less.
const timeout = 180_000;
const [certificate, key] = ["certificate.pem", "key.pem"].map((name) => `${process.env.LOGS}/${name}`);
let browser;
let server;
let url;

before(async () => {
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
    "-keyout", key, "-out", certificate], { stdio: "pipe" });
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--ignore-certificate-errors"],
    timeout,
  });
}, { timeout });

beforeEach(async (t) => {
  server = await startServer(t.name, "--workers", "1", "--tls-certificate", certificate, "--tls-key", key, "--http2");
  url = server.url;
}, { timeout });

afterEach(() => server.stop(), { timeout });

after(() => browser?.close(), { timeout });

/** How many TCP connections the server has. */
function connections() {
  const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, "0");
  const established = new RegExp(`^ *\\d+: [0-9A-F]+:${port} [0-9A-F:]+ 01 `);
  return readFileSync("/proc/net/tcp", "utf8").split("\n").filter((line) => established.test(line)).length;
}

test("http2: chromium loads the page and opens its sockets over one connection", { timeout }, async () => {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const answer = await page.goto(url);
  assert.equal(answer.status(), 200);
  await page.getByRole("status").filter({ hasText: /^connected as guest-/ }).waitFor();
  const texts = await page.evaluate(async () => {
    const open = () => new Promise((resolve, reject) => {
      const socket = new WebSocket(location.href.replace("http", "ws"));
      socket.received = [];
      socket.onmessage = ({ data }) => { socket.received.push(String(data)); resolve(socket); socket.notify?.(); };
      socket.onclose = reject;
    });
    const sockets = await Promise.all(Array.from({ length: 10 }, open));
    const [first, ...others] = sockets;
    const all = others.map((socket) => new Promise((resolve) => {
      const look = () => {
        const found = socket.received.find((text) => text.endsWith(": to everybody"));
        if (found) resolve(found);
      };
      socket.notify = look;
      look();
    }));
    first.send("to everybody");
    const texts = await Promise.all(all);
    window.sockets = sockets;
    return texts;
  });
  assert.equal(texts.length, 9);
  assert.ok(texts.every((text) => text.endsWith(": to everybody")));
  const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  assert.equal(protocol, "h2");
  assert.equal(connections(), 1, "the page, its socket and ten more");
  const closed = await page.evaluate(() => new Promise((resolve) => {
    const [first, second] = window.sockets;
    first.onclose = ({ code, wasClean }) => {
      second.onclose = (event) => resolve([code, wasClean, event.code, event.reason, event.wasClean]);
      second.send("/quit so long");
    };
    first.close(4001, "bye");
  }));
  assert.deepEqual(closed, [4001, true, 1000, "so long", true]);
  assert.equal(connections(), 1);
  await context.close();
});

test("http2: node opens sockets beside a request over one connection", { timeout }, async () => {
  const session = http2.connect(url, { ca: readFileSync(certificate) });
  const [settings] = await once(session, "remoteSettings");
  assert.equal(settings.enableConnectProtocol, true);
  const open = async () => {
    const stream = session.request({
      ":method": "CONNECT", ":protocol": "websocket", ":path": "/", ":scheme": "https", ":authority": new URL(url).host,
      "sec-websocket-version": "13", origin: url.slice(0, -1),
    });
    const [headers] = await once(stream, "response");
    assert.equal(headers[":status"], 200);
    const [greeting] = await once(stream, "data");
    assert.match(greeting.toString(), /you are guest-/);
    return stream;
  };
  const streams = [await open(), await open(), await open()];
  const page = session.request({ ":path": "/" });
  const [headers] = await once(page, "response");
  assert.equal(headers[":status"], 200);
  assert.match(headers["content-type"], /^text\/html/);
  page.resume();
  await once(page, "end");
  assert.equal(connections(), 1);
  // A Close with 1000, masked with zeros; the server answers it and ends the stream.
  streams[0].write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]));
  let last = Buffer.alloc(0);
  streams[0].on("data", (data) => { last = Buffer.concat([last, data]); });
  await once(streams[0], "end");
  assert.deepEqual([...last.subarray(-4)], [0x88, 2, 0x03, 0xe8]);
  streams.forEach((stream) => stream.close());
  session.close();
  await once(session, "close");
});
