/* The functions that the server calls without a route, and a plugin whose name comes from its file. */
#include "callsign.h"

#ifndef NAME
#define NAME ""
#endif
CALLSIGN_PLUGIN(NAME, "1.2");

void onconnect(struct connection *c)
{
	callsign_text(c, "onconnect");
}

#ifndef NO_ONMESSAGE
void onmessage(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)data, (void)length;
	callsign_text(c, "onmessage");
}
#endif

void ondisconnect(struct connection *c)
{
	(void)c;
	callsign_log(CALLSIGN_LEVEL_INFO, "ondisconnect");
}
