/* A handler that gives the connection its data before there is one, and tells when it is freed. */
#define _GNU_SOURCE
#include "abi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct owned_request {
	struct callsign_request request;
	const char *host;
	struct connection *owner;
	uint32_t method_code;
};

static void say(const char *what, const char *text)
{
	char line[200];
	int length = snprintf(line, sizeof line, "%s %s", what, text);
	host->log(&host, 3, line, (size_t)length);
}

static void release(struct connection *c)
{
	char what[80];
	const char *peer = host->peer(c);
	snprintf(what, sizeof what, "%s released%s:", c->id ? "connection" : "request",
		peer && strncmp(peer, "127.0.0.1:", 10) == 0 ? "" : " without a peer");
	say(what, c->data ? (char *)c->data : "nothing");
	free(c->data);
}

PLUGIN(release);

/* What the functions answer for a connection that is none yet; NULL if all is well. */
static const char *wrong(struct connection *c)
{
	const char *name, *value;
	if (c == NULL || c->id != 0 || c->data != NULL || c->data_tag != 0)
		return "fields";
	if (host->send(c, TEXT, "x", 1) != -1 || host->close(c, 1000, "", 0) != -1)
		return "send or close";
	if (host->path(c) || host->query(c) || host->header(c, "host") || host->header_at(c, 0, &name, &value))
		return "its request";
	if (host->close_code(c) != 0 || host->close_reason(c) || host->closed_by(c) != 0)
		return "its end";
	if (host->broadcast(c, TEXT, "x", 1, 1) != 0 || host->find(0))
		return "broadcast or find";
	if (strcmp(host->peer(c), "") == 0 || strncmp(host->peer(c), "127.0.0.1:", 10) != 0)
		return "peer";
	return NULL;
}

/* The path says what becomes of the request, the query what is set. */
int32_t ask(struct owned_request *owned)
{
	struct callsign_request *request = &owned->request;
	const char *trouble = wrong(owned->owner);
	if (trouble || strcmp(owned->host, "test") != 0 || owned->method_code != 1) {
		host->fail(trouble ? trouble : "fields of the request", 5, NULL, 0);
		return 0;
	}
	if (request->query[0])
		owned->owner->data = strdup(request->query);
	if (strcmp(request->path, "/page") == 0)
		return host->respond_body(request, "page", 4) == 0;
	if (strcmp(request->path, "/zero") == 0)
		return 0;
	if (strcmp(request->path, "/missing") == 0) {
		host->handshake(request, "nobody", NULL, NULL);
		return 1;
	}
	if (strcmp(request->path, "/gone") == 0) {
		say("waits for", request->query);
		while (access(request->query, F_OK) != 0)
			usleep(1000); /* the client tells by it that it has left */
	}
	host->handshake(request, "join", NULL, NULL);
	return 1;
}

void join(struct connection *c)
{
	host->send(c, TEXT, c->data, strlen(c->data));
}
