/* Answers with the names of the variables by which a service manager speaks to a server, as far as they are set. */
#include <callsign.h>
#include <stdlib.h>

CALLSIGN_PLUGIN("variables", "1");

int32_t page(struct callsign_request *request)
{
	static const char *const names[] = {
		"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "NOTIFY_SOCKET", "WATCHDOG_USEC",
		"WATCHDOG_PID",
	};
	char answer[200] = "variables:";
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (getenv(names[i]) != NULL) {
			strcat(answer, " ");
			strcat(answer, names[i]);
		}
	}
	return callsign_respond(request, 200, "text/plain", answer, strlen(answer));
}
