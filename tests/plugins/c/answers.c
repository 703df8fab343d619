/* Handlers that do with a request what only a plugin in C can do. */
#include "callsign.h"

#include <pthread.h>

CALLSIGN_PLUGIN(NAME, "1.2");

/* Answers 0, which says "not handled", after it has begun an answer. */
int32_t zero(struct callsign_request *request)
{
	callsign_respond_status(request, 200);
	callsign_respond_body(request, "never sent", 10);
	return 0;
}

/* Adds 40000 headers, and asks for more of the request's than any has; answers how many were taken, and what
 * the first one that was not, and the other, came back as. */
int32_t many(struct callsign_request *request)
{
	char name[16], text[80];
	int taken = 0;
	int32_t refusal = 0;
	for (int i = 0; i < 40000; i++) {
		snprintf(name, sizeof name, "x-%d", i);
		int32_t status = callsign_respond_header(request, name, "1");
		if (status == 0)
			taken++;
		else if (refusal == 0)
			refusal = status;
	}
	const char *header, *value;
	int32_t found = callsign_request_header_at(request, SIZE_MAX, &header, &value);
	callsign_respond_body(request, text,
		(size_t)snprintf(text, sizeof text, "taken %d, then %d; found %d", taken, refusal, found));
	return 1;
}

static void *answer(void *data)
{
	static char text[80];
	struct callsign_request *request = data;
	int32_t status = callsign_respond_status(request, 204), header = callsign_respond_header(request, "x", "1"),
		body = callsign_respond_body(request, "never sent", 10),
		handshake = callsign_handshake(request, NULL, NULL, NULL);
	snprintf(text, sizeof text, "%d %d %d %d", status, header, body, handshake);
	return text;
}

/* Has another thread answer; answers what that was told. */
int32_t elsewhere(struct callsign_request *request)
{
	pthread_t thread;
	void *text;
	if (pthread_create(&thread, NULL, answer, request) != 0 || pthread_join(thread, &text) != 0)
		return 0;
	callsign_respond_body(request, text, snprintf(NULL, 0, "%s", (char *)text));
	return 1;
}
