/* Faults that a memory checker must find, which proves that it works. A message selects the fault. */
#include "callsign.h"

#include <stdlib.h>

CALLSIGN_PLUGIN("bugs", "1.0");

static volatile char sink;
static void *volatile lost;

static void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char *volatile bytes = malloc(16);
	(void)op;
	memset(bytes, 'x', 16);
#define IS(word) (length == strlen(word) && memcmp(data, word, length) == 0)
	if (IS("behind")) {
		bytes[16] = 1;
	} else if (IS("after free")) {
		free(bytes);
		sink = bytes[0];
		bytes = NULL;
	} else if (IS("too long")) {
		/* The host reads it. */
		callsign_send(c, CALLSIGN_OP_BINARY, bytes, 24);
	} else if (IS("leak")) {
		lost = bytes;
		bytes = NULL;
		lost = NULL;
	} else if (IS("uninitialised")) {
		char *volatile unset = malloc(16);
		if (unset[3] > 5)
			sink = 1;
		free(unset);
	}
	free(bytes);
	callsign_text(c, "done");
}
CALLSIGN_ONMESSAGE(message);
