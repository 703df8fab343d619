/* Handlers that tell the address of their client. */
#include "callsign.h"

CALLSIGN_PLUGIN("peer", "1.2");

int32_t onrequest(struct callsign_request *request)
{
	if (request->upgrade)
		callsign_handshake(request, NULL, "onmessage", NULL);
	else
		callsign_respond_body(request, request->peer, strlen(request->peer));
	return 1;
}

void onmessage(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)data, (void)length;
	callsign_text(c, callsign_peer(c));
}
