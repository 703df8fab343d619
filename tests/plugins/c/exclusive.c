/* Holds a port that only one copy of the plugin can listen on, as plugin-api/include/README.md describes. -DREJECT: the
 * load is rejected after the port was asked for. -DCARELESS: opens the port at once, everywhere. */
#define _GNU_SOURCE
#include <callsign.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef GENERATION
#define GENERATION "1"
#endif

CALLSIGN_PLUGIN("exclusive", GENERATION);

static int fd = -1;

/* Listens on the port of $CALLSIGN_TEST_PORT. -1: errno says why not. */
static int listen_on_port(void)
{
	struct sockaddr_in address = {0};
	address.sin_family = AF_INET;
	address.sin_port = htons((uint16_t)atoi(getenv("CALLSIGN_TEST_PORT")));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int new = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
	setsockopt(new, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(new, (struct sockaddr *)&address, sizeof address) == 0 && listen(new, 8) == 0)
		return new;
	close(new);
	return -1;
}

static void open_port(void *data, struct connection *c)
{
	(void)data, (void)c;
	fd = listen_on_port();
	if (fd < 0)
		callsign_fail(strerror(errno));
	else
		callsign_logf(CALLSIGN_LEVEL_INFO, "%s: has the port", GENERATION);
}

static int32_t load(const struct callsign_load *load)
{
	callsign_logf(CALLSIGN_LEVEL_INFO, "%s: worker %u replaces %u%s", GENERATION, load->worker, load->replaces,
		load->probe ? " in a probe" : "");
#ifdef TELL_PROBE
	/* The log of a probe is discarded. */
	if (load->probe) {
		callsign_fail(load->replaces == 2 ? "generation 2 serves" : "wrong");
		return 0;
	}
#endif
#ifdef CARELESS
	open_port(NULL, NULL);
	return fd >= 0;
#else
	if (load->probe || load->worker != 0)
		return 1;
	if (load->replaces != 0) {
		callsign_after(NULL, 0, open_port, NULL, NULL);
#ifdef REJECT
		callsign_fail("not after all");
		return 0;
#endif
		return 1;
	}
	open_port(NULL, NULL);
	return fd >= 0;
#endif
}
CALLSIGN_ONLOAD(load);

static void unload(void)
{
	if (fd >= 0)
		close(fd);
}
CALLSIGN_ONUNLOAD(unload);

/* Answers with the generation, and whether this worker has the port. */
static void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)data, (void)length;
	callsign_text(c, fd >= 0 ? GENERATION " has the port" : GENERATION);
}
CALLSIGN_ONMESSAGE(message);
