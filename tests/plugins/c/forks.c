/* Starts processes in the ways in which plugins do, and in ways in which they should not. The answer to most commands is
 * a process id, or what `waitpid` says of the child. With FORK_IN_CONSTRUCTOR or FORK_IN_ONLOAD, a child is forked when
 * the library is loaded, and returns. */
#define _GNU_SOURCE
#include "callsign.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

CALLSIGN_PLUGIN("forks", "1.0");

#ifdef FORK_IN_CONSTRUCTOR
__attribute__((constructor)) static void constructor(void)
{
	fork();
}
#endif

#ifdef FORK_IN_ONLOAD
static int32_t load_hook(const struct callsign_load *load);
CALLSIGN_ONLOAD(load_hook);
static int32_t load_hook(const struct callsign_load *load)
{
	(void)load;
	fork();
	return 1;
}
#endif

static int is(const void *data, size_t length, const char *command)
{
	return length == strlen(command) && memcmp(data, command, length) == 0;
}

/* A pipe on which a child tells that it stays. */
static int told[2];

/* Before the fork. */
static void open_pipe(void)
{
	if (pipe(told) != 0)
		abort();
}

/* In a forked child: whether a child of its own has all the files that this one has opened. They have the lowest free
 * numbers, those of the worker's sockets among them. */
static int grandchild(void)
{
	int files[40], i;
	int result = -1;
	pid_t child;
	for (i = 0; i < 40; i += 2)
		if (pipe(files + i) != 0)
			abort();
	if ((child = fork()) == 0) {
		for (i = 0; i < 40; i++)
			if (fcntl(files[i], F_GETFD) < 0)
				_exit(2);
		_exit(0);
	}
	waitpid(child, &result, 0);
	return WIFEXITED(result) ? WEXITSTATUS(result) : 1;
}

static volatile int logging;

/* On another thread: logs all the time. */
static void log_on(void *data)
{
	(void)data;
	while (logging)
		callsign_log(CALLSIGN_LEVEL_INFO, "busy");
}

/* What a child does that stays. */
static void stay(void)
{
	alarm(60); /* if nobody ends it */
	if (write(told[1], "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Waits until the child stays. */
static int staying(pid_t child)
{
	char byte;
	close(told[1]);
	if (read(told[0], &byte, 1) != 1)
		abort();
	close(told[0]);
	return (int)child;
}

static int status(pid_t child)
{
	int status = -1;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void fork_later(void *data, struct connection *c)
{
	(void)data;
	(void)c;
	fork();
}

static void fork_work(void *data)
{
	(void)data;
	fork();
}

static void no_free(void *data)
{
	(void)data;
}

void command(struct connection *c, uint8_t op, const void *data, size_t length)
{
	char text[40];
	int answer = (int)getpid();
	pid_t child;
	(void)op;
	if (is(data, length, "stay")) {
		open_pipe();
		if ((child = fork()) == 0)
			stay();
		answer = staying(child);
	} else if (is(data, length, "leave")) {
		open_pipe();
		if ((child = fork()) == 0) {
			setsid();
			stay();
		}
		answer = staying(child);
	} else if (is(data, length, "clone")) {
		/* Not by libc: nothing in the host learns of it. */
		open_pipe();
		if ((child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) == 0)
			stay();
		answer = staying(child);
	} else if (is(data, length, "return")) {
		if ((child = fork()) == 0)
			return;
		answer = (int)child;
	} else if (is(data, length, "use")) {
		/* The child calls the host. Bit by bit: what has worked. */
		if ((child = fork()) == 0) {
			int sent = callsign_text(c, "from the child");
			int broadcast = callsign_broadcast_text(NULL, "child", CALLSIGN_SCOPE_GLOBAL);
			int closed = callsign_close(c, 1000, "");
			_exit((sent >= 0) | (broadcast >= 0) << 1 | (closed >= 0) << 2);
		}
		answer = status(child);
	} else if (is(data, length, "grandchild")) {
		if ((child = fork()) == 0)
			_exit(grandchild());
		answer = status(child);
	} else if (is(data, length, "log")) {
		/* While another thread may hold the lock of the log. */
		int left;
		logging = 1;
		callsign_background(c, log_on, NULL, NULL, no_free);
		answer = 0;
		for (left = 300; left > 0; left--) {
			if ((child = fork()) == 0) {
				alarm(10);
				callsign_log(CALLSIGN_LEVEL_INFO, "in a child");
				_exit(0);
			}
			if (status(child) != 0)
				answer++;
		}
		logging = 0;
	} else if (is(data, length, "exit")) {
		if ((child = fork()) == 0)
			_exit(7);
		answer = status(child);
	} else if (is(data, length, "exec")) {
		if ((child = fork()) == 0) {
			execl("/bin/sh", "sh", "-c", "exit 8", (char *)NULL);
			_exit(1);
		}
		answer = status(child);
	} else if (is(data, length, "system")) {
		answer = WEXITSTATUS(system("exit 9"));
	} else if (is(data, length, "popen")) {
		FILE *output = popen("echo 10", "r");
		if (output == NULL || fscanf(output, "%d", &answer) != 1)
			answer = -1;
		if (output != NULL)
			pclose(output);
	} else if (is(data, length, "orphan")) {
		answer = system("sleep 0.05 &");
	} else if (is(data, length, "timer")) {
		callsign_after(c, 1, fork_later, NULL, no_free);
	} else if (is(data, length, "background")) {
		callsign_background(c, fork_work, NULL, NULL, no_free);
	} else if (is(data, length, "close")) {
		callsign_close(c, 1000, "");
		return;
	}
	snprintf(text, sizeof text, "%d", answer);
	callsign_text(c, text);
}
