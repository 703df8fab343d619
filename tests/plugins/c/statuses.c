/* What the host answers to calls that only a plugin in C can make wrong, and the C side of a connection's data
 * and of a failure. */
#include "abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(const char *text)
{
	host->log(&host, 3, text, strlen(text));
}

static void release(struct connection *c)
{
	char text[80];
	snprintf(text, sizeof text, "release %s", c->data ? (char *)c->data : "nothing");
	say(text);
	free(c->data);
}

PLUGIN(release);

void join(struct connection *c)
{
	c->data = strdup(host->query(c));
}

/* Sends `NAME STATUS` for each call. */
static void answer(struct connection *c, const char *name, int32_t status)
{
	char text[80];
	host->send(c, TEXT, text, (size_t)snprintf(text, sizeof text, "%s %d", name, status));
}

void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	static char large[4097];
	(void)op;
	if (length == 4 && memcmp(data, "fail", 4) == 0) {
		host->fail("it fails", 8, "statuses.c", 7);
		return;
	}
	for (int bad = 0; bad < 256; bad++)
		if (bad != TEXT && bad != BINARY && bad != PING && bad != PONG && host->send(c, (uint8_t)bad, "x", 1) != -3)
			answer(c, "not a bad op", bad);
	answer(c, "op 8", host->send(c, 8, "x", 1));
	answer(c, "bad UTF-8", host->send(c, TEXT, "\xc3\x28", 2));
	answer(c, "cut UTF-8", host->send(c, TEXT, "\xe2\x82", 2));
	answer(c, "too large", host->send(c, BINARY, large, 4097));
	answer(c, "large ping", host->send(c, PING, large, 126));
	answer(c, "no data", host->send(c, BINARY, NULL, 1));
	answer(c, "no connection", host->send(NULL, BINARY, "x", 1));
	answer(c, "broadcast op", host->broadcast(c, 8, "x", 1, 1));
	answer(c, "broadcast UTF-8", host->broadcast(c, TEXT, "\xff", 1, 1));
	answer(c, "broadcast large", host->broadcast(c, BINARY, large, 4097, 1));
	answer(c, "broadcast scope 0", host->broadcast(c, TEXT, "x", 1, 0));
	answer(c, "broadcast scope 3", host->broadcast(c, TEXT, "x", 1, 3));
	answer(c, "close UTF-8", host->close(c, 1000, "\xff", 1));
	answer(c, "close code", host->close(c, 1006, "", 0));
	answer(c, "find", host->find(0) == NULL && host->find(c->id) == c);
	answer(c, "extension", host->extension("none/1") == NULL);
	answer(c, "in callback", host->in_callback());
	answer(c, "header", host->header(c, "x-none") == NULL);
	const char *name, *value;
	answer(c, "header at", host->header_at(c, SIZE_MAX, &name, &value));
	answer(c, "header at", host->header_at(c, SIZE_MAX / 2, &name, &value));
	answer(c, "empty", host->send(c, TEXT, NULL, 0));
	host->send(c, TEXT, c->data, strlen(c->data));
}
