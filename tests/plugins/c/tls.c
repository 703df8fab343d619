/* Has SIZE bytes of thread-local data of the initial-exec model, as jemalloc and mimalloc do. Answers "environment" with
 * GLIBC_TUNABLES, and anything else with itself. */
#include <callsign.h>
#include <stdlib.h>

CALLSIGN_PLUGIN("tls", "1");

static __thread char data[SIZE] __attribute__((tls_model("initial-exec")));

void onmessage(struct connection *c, uint8_t op, const void *text, size_t length)
{
	char answer[1024];
	data[length % SIZE]++;
	if (length != strlen("environment") || memcmp(text, "environment", length) != 0) {
		callsign_send(c, op, text, length);
		return;
	}
	snprintf(answer, sizeof answer, "GLIBC_TUNABLES=%s", getenv("GLIBC_TUNABLES"));
	callsign_text(c, answer);
}
