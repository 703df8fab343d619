/* A plugin that needs libraries of its own. It answers with its GENERATION if their functions work. */
#include "callsign.h"

int above(void);
int below(void);
int beside(void);

CALLSIGN_PLUGIN("brings", "1");

void onmessage(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op;
	(void)data;
	(void)length;
	callsign_text(c, above() && below() && beside() ? GENERATION : "they do not answer");
}
