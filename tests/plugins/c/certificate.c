/* Tells each client what its certificate says, in the request and in the connection. */
#include "callsign.h"

CALLSIGN_PLUGIN("c", "1.0");

static void describe(const struct connection *c, char *text, size_t size)
{
	size_t length = 1;
	const uint8_t *der = callsign_certificate(c, &length);
	const char *subject = callsign_certificate_field(c, CALLSIGN_CERTIFICATE_SUBJECT, 0);
	const char *dns = callsign_certificate_field(c, CALLSIGN_CERTIFICATE_DNS, 1);
	const char *more = callsign_certificate_field(c, CALLSIGN_CERTIFICATE_DNS, 2);
	const char *unknown = callsign_certificate_field(c, 77, 0);
	snprintf(text, size, "%s %s %s %s %d %zu", subject == NULL ? "-" : subject, dns == NULL ? "-" : dns,
		more == NULL ? "-" : more, unknown == NULL ? "-" : unknown, der == NULL ? -1 : der[0], length);
}

int32_t page(struct callsign_request *request)
{
	char text[500];
	size_t length;
	describe(request->owner, text, sizeof text);
	callsign_respond_body(request, text, strlen(text));
	return callsign_certificate(NULL, &length) == NULL && length == 0;
}

void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char text[500];
	(void)op, (void)data, (void)length;
	describe(c, text, sizeof text);
	callsign_text(c, text);
}
