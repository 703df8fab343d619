"""Executes a program with sockets as systemd does (sd_listen_fds(3)).

usage: launcher.py NAME=KIND:ADDRESS… -- PROGRAM ARGUMENT…

KIND is tcp, unix, udp, or tcp-deaf, which does not listen. Without NAME=, LISTEN_FDNAMES is not set. PID and COUNT in the
environment replace the values of LISTEN_PID and LISTEN_FDS.
"""

import fcntl
import os
import socket
import sys

split = sys.argv.index("--")
names, sockets = [], []
for argument in sys.argv[1:split]:
    name, _, rest = argument.rpartition("=")
    kind, _, address = rest.partition(":")
    if kind == "unix":
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(address)
    else:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # As systemd does: one socket for both families.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind((host, int(port)))
    if kind in ("tcp", "unix"):
        bound.listen()
    names.append(name)
    sockets.append(bound)

# First out of the way of the numbers that they get.
high = [fcntl.fcntl(bound.fileno(), fcntl.F_DUPFD, 100) for bound in sockets]
for number, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + number)
os.closerange(3 + len(high), 200)
os.environ["LISTEN_PID"] = os.environ.pop("PID", str(os.getpid()))
os.environ["LISTEN_FDS"] = os.environ.pop("COUNT", str(len(high)))
if any(names):
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
program = sys.argv[split + 1 :]
os.execv(program[0], program)
