/* Sends as much as the queue of a client takes, and says when it is empty again. A number asks for so many lines. */
#include <callsign.h>
#include <stdlib.h>

/* A reload keeps `data`. */
CALLSIGN_PLUGIN_HOOKS("drain", "1.0", 1, NULL, NULL, NULL, NULL, NULL);

#ifndef GENERATION
#define GENERATION "1"
#endif
#ifndef DRAINED
#define DRAINED drained
#endif

static char line[1000];

/* The lines that are left are in `data`. */
static void go_on(struct connection *c)
{
	uintptr_t left = (uintptr_t)c->data;
	for (; left > 0 && callsign_queued(c) < 10000; left--)
		callsign_send(c, CALLSIGN_OP_BINARY, line, sizeof line);
	c->data = (void *)left;
}

static void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op;
	if (length == 4 && memcmp(data, "fill", 4) == 0) {
		int32_t status = CALLSIGN_STATUS_SENT;
		int sent = 0;
		for (; status >= 0 && sent < 100000; sent++)
			status = callsign_send(c, CALLSIGN_OP_BINARY, line, sizeof line);
		callsign_logf(CALLSIGN_LEVEL_INFO, "status %d, %s", status,
			callsign_queued(c) > 65536 ? "much waits" : "little waits");
		return;
	}
	c->data = (void *)(uintptr_t)atoi(data);
	go_on(c);
}
CALLSIGN_ONMESSAGE(message);

static void DRAINED(struct connection *c)
{
	callsign_logf(CALLSIGN_LEVEL_INFO, GENERATION ": drained, %zu wait", callsign_queued(c));
	go_on(c);
}
CALLSIGN_ONDRAIN(DRAINED);

static int32_t connect_(struct callsign_request *request)
{
	return callsign_handshake_drain(request, NULL, "message", NULL, "drained") == CALLSIGN_STATUS_SENT;
}
CALLSIGN_ONREQUEST(connect_);

/* The last name is no ondrain handler. */
static int32_t wrong(struct callsign_request *request)
{
	int32_t none = callsign_host_table->handshake_with(request, NULL);
	int32_t kind = callsign_handshake_drain(request, NULL, "message", NULL, "message");
	int32_t missing = callsign_handshake_drain(request, NULL, "message", NULL, "nowhere");
	callsign_logf(CALLSIGN_LEVEL_INFO, "none %d, kind %d, missing %d", none, kind, missing);
	return 1;
}
CALLSIGN_ONREQUEST(wrong);
