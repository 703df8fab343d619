/* Broadcasts from every kind of callback. Each broadcast says from which plugin, and from what, it comes. */
#include "callsign.h"

static void tell(struct connection *source, const char *what, uint32_t scope)
{
	char text[80];
	snprintf(text, sizeof text, "%s: %s", NAME, what);
	callsign_broadcast_text(source, text, scope);
}

void join(struct connection *c)
{
	char text[80];
	snprintf(text, sizeof text, "worker %u", callsign_worker_index());
	callsign_text(c, text);
}

static void later(void *data, struct connection *c)
{
	(void)c;
	tell(NULL, data, CALLSIGN_SCOPE_GLOBAL);
}

static void work(void *data)
{
	(void)data;
}

static void received(uint32_t worker, uint32_t id, const void *data, size_t length)
{
	(void)worker, (void)id, (void)data, (void)length;
	tell(NULL, "worker message", CALLSIGN_SCOPE_GLOBAL);
}

void say(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char text[80];
	(void)op;
	snprintf(text, sizeof text, "%.*s", (int)length, (const char *)data);
	if (strcmp(text, "echo") == 0)
		callsign_text(c, "echo");
	else if (strcmp(text, "timer") == 0)
		callsign_after(NULL, 1, later, "timer", NULL);
	else if (strcmp(text, "background") == 0)
		callsign_background(NULL, work, later, "background", NULL);
	else if (strcmp(text, "worker message") == 0)
		callsign_worker_send(CALLSIGN_ALL_WORKERS, 1, "", 0);
	else if (strcmp(text, "data") == 0)
		c->data = c;
	else if (strcmp(text, "local") == 0)
		tell(c, "local", CALLSIGN_SCOPE_LOCAL);
	else
		tell(c, text, CALLSIGN_SCOPE_GLOBAL);
}

void leave(struct connection *c)
{
	if (c->data != NULL)
		tell(c, "ondisconnect", CALLSIGN_SCOPE_GLOBAL);
}

static void release(struct connection *c)
{
	if (c->data != NULL)
		tell(NULL, "release", CALLSIGN_SCOPE_GLOBAL);
	c->data = NULL;
}

/* Broadcasts for a request. */
int32_t push(struct callsign_request *request)
{
	tell(NULL, "request", CALLSIGN_SCOPE_GLOBAL);
	return callsign_respond(request, 200, "text/plain", "", 0);
}

static int32_t load(const struct callsign_load *load)
{
	(void)load;
	return callsign_worker_receive(1, received) == CALLSIGN_STATUS_SENT;
}
CALLSIGN_ONLOAD(load);

CALLSIGN_PLUGIN_HOOKS(NAME, "1.0", 1, release, NULL, NULL, NULL, NULL);
