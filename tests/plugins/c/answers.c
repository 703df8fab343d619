/* Answers 0, which says "not handled", after it has begun an answer. */
#include "abi.h"

PLUGIN(NULL);

int32_t zero(struct callsign_request *request)
{
	host->respond_status(request, 200);
	host->respond_body(request, "never sent", 10);
	return 0;
}
