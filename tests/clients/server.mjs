// Starts a chat server for one test. `run` sets CALLSIGN (the program), CHAT (the plugin) and LOGS (a folder).
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";

const servers = new Set();
process.on("exit", () => servers.forEach((server) => server.kill("SIGKILL")));

/**
 * Starts a server on a free port, with more options; its log file is called `name`. Returns its URL and a function that
 * stops it.
 */
export async function startServer(name, ...options) {
  const { CALLSIGN, CHAT, LOGS } = process.env;
  const server = spawn(CALLSIGN, ["serve", CHAT, "--listen", "127.0.0.1:0", "--control", "none", ...options]);
  servers.add(server);
  server.stderr.pipe(createWriteStream(`${LOGS}/${name.replaceAll(/\W+/g, "-")}.log`));
  const ended = once(server, "close");
  let stdout = "";
  const url = await new Promise((resolve, reject) => {
    server.on("error", reject);
    server.on("close", () => reject(new Error(`the server exited before it printed its address: ${stdout}`)));
    server.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
      const found = stdout.match(/ (https?:\/\/127\.0\.0\.1:\d+\/)\n/);
      if (found) resolve(found[1]);
    });
  });
  const stop = async () => {
    server.kill("SIGTERM");
    const [code, signal] = await ended;
    servers.delete(server);
    if (code !== 0) throw new Error(`the server exited on SIGTERM with ${signal ?? `status ${code}`}`);
  };
  return { url, stop };
}
