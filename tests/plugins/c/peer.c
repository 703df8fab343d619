/* Handlers that tell the address of their client, or whether it is secure. */
#include "callsign.h"

CALLSIGN_PLUGIN("peer", "1.2");

static const char *secure(const struct connection *c)
{
	return callsign_is_secure(c) ? "secure" : "not secure";
}

int32_t onrequest(struct callsign_request *request)
{
	if (request->upgrade)
		callsign_handshake(request, NULL, "onmessage", NULL);
	else if (strcmp(request->path, "/secure") == 0)
		callsign_respond_body(request, secure(request->owner), strlen(secure(request->owner)));
	else
		callsign_respond_body(request, request->peer, strlen(request->peer));
	return 1;
}

void onmessage(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)length;
	callsign_text(c, strcmp(data, "secure") == 0 ? secure(c) : callsign_peer(c));
}
