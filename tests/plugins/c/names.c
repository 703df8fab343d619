/* Plain functions without kinds, built as the plugins `left` and `right`. Each answers with its name and plugin. */
#include "callsign.h"

#include <sys/socket.h>

CALLSIGN_PLUGIN(NAME, "1.2");

static void say(struct connection *c, const char *what)
{
	char text[80];
	snprintf(text, sizeof text, "%s of %s", what, NAME);
	callsign_text(c, text);
}

void join(struct connection *c)
{
	say(c, "join");
}

void who(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)data, (void)length;
	say(c, "who");
}

#ifdef RIGHT
void only_right(struct connection *c, uint8_t op, const void *data, size_t length)
{
	who(c, op, data, length);
}
#endif

/* Binds the name in the query as onmessage. */
int32_t ask(struct callsign_request *request)
{
	return callsign_handshake(request, NULL, request->query, NULL) == 0;
}

/* Uses functions of the C library, which do not become handlers. */
int sockets(void)
{
	return printf("unused\n") + (int)send(-1, "", 0, 0);
}
