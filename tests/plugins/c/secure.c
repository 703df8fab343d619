/* Tells each client whether it is secure, in the request and in the connection. */
#include "callsign.h"

CALLSIGN_PLUGIN("c", "1.0");

int32_t page(struct callsign_request *request)
{
	callsign_respond_body(request, callsign_is_secure(request->owner) == 1 ? "1" : "0", 1);
	return callsign_is_secure(NULL) == 0;
}

int32_t upgrade(struct callsign_request *request)
{
	return callsign_handshake(request, NULL, "message", NULL) == CALLSIGN_STATUS_SENT;
}

void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)data, (void)length;
	callsign_text(c, callsign_is_secure(c) == 1 ? "1" : "0");
}
