"""The PyPI package `websockets` talks to the chat plugin.

Each test has its own server. `run` sets CALLSIGN (the program), CHAT (the plugin) and LOGS (a folder).
"""

import asyncio
import os
import re
import subprocess
import unittest

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

PATIENCE = 60  # seconds for one message or one close; both take far less


class Server:
    """A chat server on a free port. Its log file has the name of the test."""

    @classmethod
    async def start(cls, name):
        server = cls()
        with open(os.path.join(os.environ["LOGS"], name + ".log"), "wb") as log:
            server.process = await asyncio.create_subprocess_exec(
                os.environ["CALLSIGN"], "serve", os.environ["CHAT"], "--listen", "127.0.0.1:0", "--control", "none",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        found = None
        while not found:
            line = await asyncio.wait_for(server.process.stdout.readline(), PATIENCE)
            assert line, "the server exited before it printed its address"
            found = re.search(r" http(://127\.0\.0\.1:\d+/)$", line.decode().rstrip())
        server.url = "ws" + found[1]
        return server

    async def stop(self):
        self.process.terminate()
        await asyncio.wait_for(self.process.communicate(), PATIENCE)
        return self.process.returncode


class Client:
    """One chat client. `names` lists the clients of this test in the order in which they joined."""

    @classmethod
    async def join(cls, url, names):
        client = cls()
        client.earlier = list(names)
        client.socket = await connect(url, proxy=None, max_size=4 << 20, open_timeout=PATIENCE, close_timeout=PATIENCE)
        compressed = [extension.name for extension in client.socket.protocol.extensions] == ["permessage-deflate"]
        assert compressed == (os.environ["CALLSIGN_COMPRESSION"] != "off"), "the client offers compression"
        client.name = re.fullmatch(r"\* you are (guest-\S+)", await client.next())[1]
        names.append(client.name)
        return client

    async def next(self):
        """The next message: str if it is text, bytes if it is binary.

        Skips notices that earlier clients joined: those from another worker may arrive after this client has joined.
        """
        while True:
            message = await asyncio.wait_for(self.socket.recv(), PATIENCE)
            if message not in [f"* {name} joined" for name in self.earlier]:
                return message

    async def send(self, message, text=None):
        await self.socket.send(message, text=text)

    async def closed(self):
        await asyncio.wait_for(self.socket.wait_closed(), PATIENCE)
        return self.socket.close_code, self.socket.close_reason


class Chat(unittest.IsolatedAsyncioTestCase):
    maxDiff = 200

    async def asyncSetUp(self):
        self.server = await Server.start(self.id())
        self.addAsyncCleanup(self.stop)
        names = []
        self.ann = await self.enter(names)
        self.bob = await self.enter(names)
        self.assertEqual(await self.ann.next(), f"* {self.bob.name} joined")

    async def enter(self, names):
        client = await Client.join(self.server.url, names)
        self.addCleanup(client.socket.transport.abort)
        return client

    async def stop(self):
        self.assertEqual(await self.server.stop(), 0)

    async def test_names_differ(self):
        self.assertNotEqual(self.ann.name, self.bob.name)

    async def test_text_reaches_the_others_and_not_its_sender(self):
        await self.ann.send("hello, Zoë 👋")
        self.assertEqual(await self.bob.next(), f"{self.ann.name}: hello, Zoë 👋")
        await self.bob.send("hi")
        self.assertEqual(await self.ann.next(), f"{self.bob.name}: hi")

    async def test_a_new_name_is_announced_to_everyone(self):
        await self.ann.send("/name ann")
        for client in self.ann, self.bob:
            self.assertEqual(await client.next(), f"* {self.ann.name} is now ann")

    async def test_binary_of_0_B_to_1_MiB_arrives_unchanged(self):
        for size in 0, 1, 125, 126, 65_535, 65_536, 1 << 20:
            data = os.urandom(size)
            await self.ann.send(data)
            self.assertTrue(await self.bob.next() == data, f"{size} B")

    async def test_text_of_almost_1_MiB_arrives_unchanged(self):
        text = "ä€𝄞-" * ((1 << 20) // 10 - 10)  # the name counts too
        await self.ann.send(text)
        self.assertTrue(await self.bob.next() == f"{self.ann.name}: {text}")

    async def test_text_in_fragments_cut_inside_its_characters(self):
        await self.ann.send([bytes([byte]) for byte in "ä€𝄞".encode()], text=True)
        self.assertEqual(await self.bob.next(), f"{self.ann.name}: ä€𝄞")

    async def test_1_MiB_of_binary_in_64_fragments_with_a_ping_amid_them(self):
        data = os.urandom(1 << 20)

        async def fragments():
            for i in range(64):
                if i == 32:
                    ponged = await self.ann.socket.ping(b"amid")
                    await asyncio.wait_for(ponged, PATIENCE)
                yield data[i << 14 : (i + 1) << 14]

        await self.ann.send(fragments())
        self.assertTrue(await self.bob.next() == data)

    async def test_client_closes_with_4001_bye(self):
        await self.ann.socket.close(4001, "bye")
        self.assertEqual((await self.ann.closed())[0], 4001)
        self.assertEqual(await self.bob.next(), f"* {self.ann.name} left (4001 bye)")

    async def test_client_vanishes_without_a_close_frame(self):
        self.ann.socket.transport.abort()
        self.assertEqual(await self.bob.next(), f"* {self.ann.name} left (1006)")

    async def test_server_closes_with_1000_so_long(self):
        await self.ann.send("/quit so long")
        with self.assertRaises(ConnectionClosed):
            await self.ann.next()
        self.assertEqual(await self.ann.closed(), (1000, "so long"))
        self.assertEqual(await self.bob.next(), f"* {self.ann.name} left (1000 so long)")


class Result(unittest.TextTestResult):
    def getDescription(self, test):
        return "websockets: " + test.id().partition(".test_")[2].replace("_", " ")


if __name__ == "__main__":
    unittest.main(testRunner=unittest.TextTestRunner(verbosity=2, resultclass=Result))
