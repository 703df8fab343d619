/* Handlers with names of functions of the C library, which the loader finds first where the plugin refers to them. */
#include <callsign.h>

CALLSIGN_PLUGIN("libc-names-c", "1");

void error(struct connection *c) { callsign_text(c, "own error"); }
CALLSIGN_ONCONNECT(error);

void index(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)data, (void)length;
	callsign_text(c, "own index");
}
CALLSIGN_ONMESSAGE(index);

void warn(struct connection *c)
{
	(void)c;
	callsign_log(CALLSIGN_LEVEL_INFO, "own warn");
}
CALLSIGN_ONDISCONNECT(warn);

/* Without a macro. */
int32_t daemon(struct callsign_request *request) { return callsign_respond(request, 200, "text/plain", "own", 3); }
