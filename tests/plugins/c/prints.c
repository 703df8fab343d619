/* Prints each message, and answers when it has. */
#include <callsign.h>

CALLSIGN_PLUGIN("prints", "1");

void onmessage(struct connection *c, uint8_t op, const void *data, size_t length)
{
	printf("printed %.*s\n", (int)length, (const char *)data);
	callsign_send(c, op, data, length);
}

void ondisconnect(struct connection *c)
{
	(void)c;
	printf("printed last");
}
