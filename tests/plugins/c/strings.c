/* Uses what it gets from the host as C strings, and writes behind it. */
#include "callsign.h"

#include <ctype.h>

CALLSIGN_PLUGIN("strings", "1.0");

/* Answers with the text in upper case, as a binary message. Changes the message in place, and ends it itself. */
void message(struct connection *c, uint8_t op, void *data, size_t length)
{
	char *text = data;
	size_t i, end = strlen(text);

	(void)op;
	for (i = 0; i < end; i++)
		text[i] = (char)toupper((unsigned char)text[i]);
	text[length] = '\0';
	callsign_send(c, CALLSIGN_OP_BINARY, text, strlen(text));
	text[length] = '?';
}

/* Answers with the worker's number, and sends the text, unless it is "?", to the plugin's other instances. */
void share(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)length;
	callsign_text(c, callsign_worker_index() == 0 ? "0" : "1");
	if (strcmp(data, "?") != 0)
		callsign_worker_send(CALLSIGN_ALL_WORKERS, 1, data, strlen(data));
}

/* A text from another instance, for all clients of this worker. */
static void told(uint32_t worker, uint32_t id, const void *data, size_t length)
{
	char *text = (char *)data;

	(void)worker, (void)id;
	callsign_broadcast(NULL, CALLSIGN_OP_BINARY, text, strlen(text), CALLSIGN_SCOPE_LOCAL);
	text[length] = '?';
}

static int32_t load(const struct callsign_load *l)
{
	(void)l;
	return callsign_worker_receive(1, told) == CALLSIGN_STATUS_SENT;
}
CALLSIGN_ONLOAD(load);

/* Responds with the body of the request. */
int32_t page(struct callsign_request *request)
{
	const char *body = (const char *)request->body;

	return callsign_respond(request, 200, "text/plain", body, strlen(body));
}
