/* The functions that are called where no route is given, and no name: it is the file's. */
#include "abi.h"

#include <string.h>

PLUGIN(NULL);

void onconnect(struct connection *c)
{
	host->send(c, TEXT, "onconnect", 9);
}

#ifndef NO_ONMESSAGE
void onmessage(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op, (void)data, (void)length;
	host->send(c, TEXT, "onmessage", 9);
}
#endif

void ondisconnect(struct connection *c)
{
	(void)c;
	host->log(&host, 3, "ondisconnect", strlen("ondisconnect"));
}
