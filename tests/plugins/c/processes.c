/* What a plugin should not do to its process: `unlink` closes its link to the parent, `fork` leaves a child that keeps
 * all descriptors, because libc does not know of it, and that has left the worker's process group. */
#define _GNU_SOURCE
#include "callsign.h"

#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

CALLSIGN_PLUGIN("", "1.2");

/* Closes all Unix sockets, which are never those of clients here. */
static void unlink_worker(void)
{
	struct sockaddr_storage address;
	for (int fd = 3; fd < 1024; fd++) {
		socklen_t length = sizeof address;
		int is_socket = getsockname(fd, (struct sockaddr *)&address, &length) == 0;
		if (is_socket && address.ss_family == AF_UNIX)
			close(fd);
	}
}

/* Answers with a process id: its own, or that of its child, which has inherited all descriptors. */
void command(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char text[20];
	pid_t process = getpid();
	(void)op;
	if (length == 6 && memcmp(data, "unlink", 6) == 0)
		unlink_worker();
	if (length == 4 && memcmp(data, "fork", 4) == 0)
		process = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (process == 0) {
		setsid();
		/* If nobody ends it. */
		alarm(60);
		for (;;)
			pause();
	}
	/* Until it has left the group, it would end with the worker. */
	while (process != getpid() && getpgid(process) != process)
		sched_yield();
	snprintf(text, sizeof text, "%d", (int)process);
	callsign_text(c, text);
}
