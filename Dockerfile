# The server, without plugins:
#
#     docker build -t callsign .
#     docker run --rm -p 8080:8080 -v "$PWD/target/release:/plugins:ro" \
#         callsign serve /plugins/libchat.so --listen 0.0.0.0:8080
#
# Build plugins on the same release of Debian, or on an older one: they are
# loaded with the image's C library. What else they need is installed in an image
# FROM this one.

FROM rust:1-slim-bookworm AS build
WORKDIR /callsign
COPY . .
RUN cargo build --release --locked --package callsign \
    && strip --strip-debug target/release/callsign

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin callsign \
    && install -d -o callsign -g callsign -m 0700 /run/callsign
COPY --from=build /callsign/target/release/callsign /usr/local/bin/callsign
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/callsign/
# The number, so that Kubernetes sees that it is not root (runAsNonRoot).
USER 10001
# The place of the control socket. With a read-only root file system, mount a
# tmpfs here and on /tmp, which has the copies of the plugins:
#     --read-only --tmpfs /run/callsign:mode=700,uid=10001 --tmpfs /tmp:exec
ENV CALLSIGN_CONTROL=/run/callsign/control.sock
EXPOSE 8080
# The server is process 1: it reaps orphans, closes its connections at SIGTERM, and
# reloads at SIGHUP (`docker kill --signal HUP`). docker stop waits 10 s, as long as
# drain_timeout; give it more with --stop-timeout.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["callsign", "status"]
ENTRYPOINT ["callsign"]
CMD ["serve", "--config", "/etc/callsign/callsign.toml"]
