/* Selects a subprotocol, and tells each client which one its connection has. */
#include "callsign.h"

CALLSIGN_PLUGIN("c", "1.0");

void speak(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)data, (void)length;
	callsign_text(c, callsign_protocol(c));
}

int32_t chooses(struct callsign_request *request)
{
	if (callsign_offers_protocol(request, "v3"))
		callsign_select_protocol(request, "v3");
	else if (callsign_offers_protocol(request, "v1"))
		callsign_select_protocol(request, "v1");
	callsign_handshake(request, NULL, "speak", NULL);
	return 1;
}
