// A chat server of its own for each test: `run` names the program, the plugin and a folder for logs.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";

const servers = new Set();
process.on("exit", () => servers.forEach((server) => server.kill("SIGKILL")));

/** Starts a server on a free port; its log is kept under `name`. Returns its URL, and a function that stops it. */
export async function startServer(name) {
  const { CALLSIGN, CHAT, LOGS } = process.env;
  const server = spawn(CALLSIGN, ["serve", CHAT, "--listen", "127.0.0.1:0", "--control", "none"]);
  servers.add(server);
  server.stderr.pipe(createWriteStream(`${LOGS}/${name.replaceAll(/\W+/g, "-")}.log`));
  const ended = once(server, "close");
  let said = "";
  const url = await new Promise((resolve, reject) => {
    server.on("error", reject);
    server.on("close", () => reject(new Error(`the server ended at its start: ${said}`)));
    server.stdout.setEncoding("utf8").on("data", (text) => {
      said += text;
      const found = said.match(/ (http:\/\/127\.0\.0\.1:\d+\/)\n/);
      if (found) resolve(found[1]);
    });
  });
  const stop = async () => {
    server.kill("SIGTERM");
    const [code, signal] = await ended;
    servers.delete(server);
    if (code !== 0) throw new Error(`the server ended on SIGTERM with ${signal ?? `status ${code}`}`);
  };
  return { url, stop };
}
