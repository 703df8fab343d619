/* Statuses of calls that only a plugin in C can get wrong, and a connection's data and a failing handler in C. */
#include "callsign.h"

#include <stdlib.h>

static void release(struct connection *c)
{
	callsign_logf(CALLSIGN_LEVEL_INFO, "release %s", c->data ? (char *)c->data : "nothing");
	free(c->data);
}

CALLSIGN_PLUGIN_WITH("", "1.2", .release = release);

void join(struct connection *c)
{
	c->data = strdup(callsign_query(c));
}

/* Sends `NAME STATUS` for each call. */
static void answer(struct connection *c, const char *name, int32_t status)
{
	char text[80];
	snprintf(text, sizeof text, "%s %d", name, status);
	callsign_text(c, text);
}

void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	static char large[4097];
	(void)op;
	if (length == 4 && memcmp(data, "fail", 4) == 0) {
		callsign_fail_at("it fails", "statuses.c", 7);
		return;
	}
	for (int bad = 0; bad < 256; bad++)
		if (bad != CALLSIGN_OP_TEXT && bad != CALLSIGN_OP_BINARY && bad != CALLSIGN_OP_PING &&
			bad != CALLSIGN_OP_PONG && callsign_send(c, (uint8_t)bad, "x", 1) != -3)
			answer(c, "not a bad op", bad);
	answer(c, "op 8", callsign_send(c, 8, "x", 1));
	answer(c, "bad UTF-8", callsign_send(c, CALLSIGN_OP_TEXT, "\xc3\x28", 2));
	answer(c, "cut UTF-8", callsign_send(c, CALLSIGN_OP_TEXT, "\xe2\x82", 2));
	answer(c, "too large", callsign_send(c, CALLSIGN_OP_BINARY, large, 4097));
	answer(c, "large ping", callsign_send(c, CALLSIGN_OP_PING, large, 126));
	answer(c, "no data", callsign_send(c, CALLSIGN_OP_BINARY, NULL, 1));
	answer(c, "no connection", callsign_send(NULL, CALLSIGN_OP_BINARY, "x", 1));
	answer(c, "broadcast op", callsign_broadcast(c, 8, "x", 1, 1));
	answer(c, "broadcast UTF-8", callsign_broadcast(c, CALLSIGN_OP_TEXT, "\xff", 1, 1));
	answer(c, "broadcast large", callsign_broadcast(c, CALLSIGN_OP_BINARY, large, 4097, 1));
	answer(c, "broadcast scope 0", callsign_broadcast(c, CALLSIGN_OP_TEXT, "x", 1, 0));
	answer(c, "broadcast scope 3", callsign_broadcast(c, CALLSIGN_OP_TEXT, "x", 1, 3));
	answer(c, "close UTF-8", callsign_close(c, 1000, "\xff"));
	answer(c, "close code", callsign_close(c, 1006, ""));
	answer(c, "find", callsign_find(0) == NULL && callsign_find(c->id) == c);
	answer(c, "extension", callsign_extension("none/1") == NULL);
	answer(c, "in callback", callsign_in_callback());
	answer(c, "header", callsign_header(c, "x-none") == NULL);
	const char *name, *value;
	answer(c, "header at", callsign_header_at(c, SIZE_MAX, &name, &value));
	answer(c, "header at", callsign_header_at(c, SIZE_MAX / 2, &name, &value));
	answer(c, "empty", callsign_send(c, CALLSIGN_OP_TEXT, NULL, 0));
	callsign_text(c, c->data);
}
