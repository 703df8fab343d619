/* An onrequest handler that attaches data to the future connection, and logs when it is freed. */
#define _GNU_SOURCE
#include "callsign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *what, const char *text)
{
	callsign_logf(CALLSIGN_LEVEL_INFO, "%s %s", what, text);
}

static void release(struct connection *c)
{
	char what[80];
	const char *peer = callsign_peer(c);
	snprintf(what, sizeof what, "%s released%s:", c->id ? "connection" : "request",
		peer && strncmp(peer, "127.0.0.1:", 10) == 0 ? "" : " without a peer");
	say(what, c->data ? (char *)c->data : "nothing");
	free(c->data);
}

CALLSIGN_PLUGIN_HOOKS("", "1.2", 0, release, NULL, NULL, NULL, NULL);

/* Checks the results of functions for a request's owner, which is no connection yet; NULL if all are right. */
static const char *wrong(struct connection *c)
{
	const char *name, *value;
	if (c == NULL || c->id != 0 || c->data != NULL || c->data_tag != 0)
		return "fields";
	if (callsign_send(c, CALLSIGN_OP_TEXT, "x", 1) != -1 || callsign_close(c, 1000, "") != -1)
		return "send or close";
	if (callsign_path(c) || callsign_query(c) || callsign_header(c, "host") || callsign_header_at(c, 0, &name, &value))
		return "its request";
	if (callsign_close_code(c) != 0 || callsign_close_reason(c) || callsign_closed_by(c) != 0)
		return "its end";
	if (callsign_broadcast(c, CALLSIGN_OP_TEXT, "x", 1, 1) != 0 || callsign_find(0))
		return "broadcast or find";
	if (strcmp(callsign_peer(c), "") == 0 || strncmp(callsign_peer(c), "127.0.0.1:", 10) != 0)
		return "peer";
	return NULL;
}

/* The path selects how the request ends; the query is the data. */
int32_t ask(struct callsign_request *request)
{
	const char *trouble = wrong(request->owner);
	if (trouble || strcmp(request->host, "test") != 0 || request->method_code != 1) {
		callsign_fail(trouble ? trouble : "fields of the request");
		return 0;
	}
	if (request->query[0])
		request->owner->data = strdup(request->query);
	if (strcmp(request->path, "/page") == 0)
		return callsign_respond_body(request, "page", 4) == 0;
	if (strcmp(request->path, "/zero") == 0)
		return 0;
	if (strcmp(request->path, "/missing") == 0) {
		callsign_handshake(request, "nobody", NULL, NULL);
		return 1;
	}
	if (strcmp(request->path, "/gone") == 0) {
		say("waits for", request->query);
		while (access(request->query, F_OK) != 0)
			usleep(1000); /* the client creates the file after it has disconnected */
	}
	callsign_handshake(request, "join", NULL, NULL);
	return 1;
}

void join(struct connection *c)
{
	callsign_send(c, CALLSIGN_OP_TEXT, c->data, strlen(c->data));
}
