/* Tells each client its parameter `room`, in the request and in the connection. */
#include "callsign.h"

CALLSIGN_PLUGIN("c", "1.0");

static const char *or_null(const char *value)
{
	return value == NULL ? "NULL" : value;
}

int32_t page(struct callsign_request *request)
{
	const char *room = or_null(callsign_param(request->owner, "room"));
	callsign_respond_body(request, room, strlen(room));
	return callsign_param(request->owner, "Room") == NULL && callsign_param(request->owner, NULL) == NULL &&
		callsign_param(NULL, "room") == NULL;
}

void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)length;
	callsign_text(c, or_null(callsign_param(c, data)));
}
