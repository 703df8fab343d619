/* Handlers that misuse a request in ways that only a plugin in C can. */
#include "callsign.h"

#include <pthread.h>

CALLSIGN_PLUGIN(NAME, "1.2");

/* Returns 0, which means "not handled", after it has started a response. */
int32_t zero(struct callsign_request *request)
{
	callsign_respond_status(request, 200);
	callsign_respond_body(request, "never sent", 10);
	return 0;
}

/* Adds 40000 response headers, and reads a request header past the end. Responds with the number of accepted headers,
 * the status of the first rejected one, and the result of the read. */
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

/* Responds on another thread, then sends the statuses that this thread got. */
int32_t elsewhere(struct callsign_request *request)
{
	pthread_t thread;
	void *text;
	if (pthread_create(&thread, NULL, answer, request) != 0 || pthread_join(thread, &text) != 0)
		return 0;
	callsign_respond_body(request, text, snprintf(NULL, 0, "%s", (char *)text));
	return 1;
}
