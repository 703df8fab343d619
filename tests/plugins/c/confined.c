/* Does what the sandbox restricts, for tests/suite/sandbox. Answers a command with "ok" or the error. The load hook runs
 * the command in its configuration, `do`, and refuses the load if it fails. */
#define _GNU_SOURCE
#include "callsign.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

CALLSIGN_PLUGIN("confined", "1.0");

extern char **environ;

static int read_file(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, sizeof text);
	close(fd);
	/* A folder can be opened, and not read. */
	return n < 0 && errno != EISDIR ? -1 : 0;
}

static int write_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, "x", 1);
	close(fd);
	return n == 1 ? 0 : -1;
}

static int execute(const char *program)
{
	char *arguments[] = {(char *)program, "-c", "exit 7", NULL};
	pid_t child;
	int status = posix_spawn(&child, program, NULL, NULL, arguments, environ);
	if (status != 0) {
		errno = status;
		return -1;
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7) {
		errno = ECHILD;
		return -1;
	}
	return 0;
}

static int fork_child(void)
{
	int status;
	pid_t child = fork();
	if (child == 0)
		_exit(7);
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	return WEXITSTATUS(status) == 7 ? 0 : -1;
}

static int connect_to(const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	int result = connect(fd, (struct sockaddr *)&address, sizeof address);
	close(fd);
	return result;
}

/* An abstract Unix socket. */
static int abstract(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
	strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	int result = connect(fd, (struct sockaddr *)&address, length);
	close(fd);
	return result;
}

static void *on_thread(void *result)
{
	*(int *)result = 0;
	return NULL;
}

static int thread(void)
{
	pthread_t other;
	int result = -1;
	errno = pthread_create(&other, NULL, on_thread, &result);
	if (errno != 0)
		return -1;
	pthread_join(other, NULL);
	return result;
}

static void *on_thread_ptrace(void *unused)
{
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	return unused;
}

static int thread_ptrace(void)
{
	pthread_t other;
	errno = pthread_create(&other, NULL, on_thread_ptrace, NULL);
	if (errno != 0)
		return -1;
	return pthread_join(other, NULL);
}

/* What any program may expect of its system. */
static int ordinary(void)
{
	struct timespec now;
	struct tm local;
	char name[256];
	time_t seconds = time(NULL);
	struct addrinfo *found = NULL, hints = {.ai_family = AF_INET};
	void *memory = malloc(1 << 22);
	int failed = memory == NULL || clock_gettime(CLOCK_MONOTONIC, &now) != 0 || getcwd(name, sizeof name) == NULL ||
		     localtime_r(&seconds, &local) == NULL || getpwuid(0) == NULL || read_file("/dev/urandom") != 0 ||
		     write_file("/dev/null") != 0 || read_file("/proc/self/status") != 0 ||
		     readlink("/proc/self/exe", name, sizeof name) < 0 || sysconf(_SC_NPROCESSORS_ONLN) < 1 ||
		     read_file("/usr/lib") != 0 || read_file("/etc/passwd") != 0 ||
		     getaddrinfo("localhost", NULL, &hints, &found) != 0;
	free(memory);
	if (found)
		freeaddrinfo(found);
	return failed ? -1 : 0;
}

static int call(const char *name)
{
	if (strcmp(name, "ptrace") == 0)
		return (int)ptrace(PTRACE_TRACEME, 0, 0, 0);
	if (strcmp(name, "mount") == 0)
		return mount("none", "/mnt", "tmpfs", 0, NULL);
	if (strcmp(name, "unshare") == 0)
		return (int)syscall(SYS_unshare, 0x10000000 /* CLONE_NEWUSER */);
	if (strcmp(name, "clone") == 0)
		return (int)syscall(SYS_clone, 0x10000000 | SIGCHLD, 0, 0, 0, 0);
	if (strcmp(name, "keyctl") == 0)
		return (int)syscall(SYS_keyctl, 0, 0, 0, 0, 0);
	if (strcmp(name, "bpf") == 0)
		return (int)syscall(SYS_bpf, 0, NULL, 0);
	if (strcmp(name, "setuid") == 0)
		return setuid(getuid());
	if (strcmp(name, "io_uring_setup") == 0)
		return (int)syscall(SYS_io_uring_setup, 1, NULL);
	if (strcmp(name, "unknown") == 0)
		return (int)syscall(1023);
	if (strcmp(name, "execve") == 0) {
		char *arguments[] = {"/bin/sh", "-c", "exit 7", NULL};
		return execve(arguments[0], arguments, environ);
	}
	if (strcmp(name, "socket") == 0)
		return socket(AF_PACKET, SOCK_RAW, 0);
	if (strcmp(name, "ioctl") == 0)
		return ioctl(0, TIOCSTI, "x");
	if (strcmp(name, "prlimit64") == 0)
		return prlimit(getppid(), RLIMIT_NOFILE, NULL, NULL);
	if (strcmp(name, "fchmod") == 0)
		return fchmod(0, 0666);
	errno = EINVAL;
	return -1;
}

static int run(const char *command)
{
	const char *argument = strchr(command, ' ');
	argument = argument ? argument + 1 : "";
#define IS(word) (strncmp(command, word, sizeof word - 1) == 0)
	if (IS("read "))
		return read_file(argument);
	if (IS("write "))
		return write_file(argument);
	if (IS("truncate "))
		return truncate(argument, 0);
	if (IS("chmod "))
		return chmod(argument, 0600);
	if (IS("execute "))
		return execute(argument);
	if (IS("connect "))
		return connect_to(argument);
	if (IS("abstract "))
		return abstract(argument);
	if (IS("call "))
		return call(argument);
	if (IS("fork"))
		return fork_child();
	if (IS("thread ptrace"))
		return thread_ptrace();
	if (IS("thread"))
		return thread();
	if (IS("signal"))
		return kill(getppid(), SIGCONT);
	if (IS("ordinary"))
		return ordinary();
	errno = EINVAL;
	return -1;
}

/* A command in quotes behind "do": in the configuration, which is JSON. */
static int32_t load(const struct callsign_load *load)
{
	char command[1000];
	const char *at = strstr(load->config, "\"do\":\"");
	if (!at)
		return 1;
	snprintf(command, sizeof command, "%s", at + 6);
	*strchr(command, '"') = 0;
	if (run(command) == 0)
		return 1;
	callsign_fail_at(strerror(errno), NULL, 0);
	return 0;
}
CALLSIGN_ONLOAD(load);

void message(struct connection *c, uint8_t op, const void *data, size_t length)
{
	(void)op;
	(void)length;
	callsign_text(c, run(data) == 0 ? "ok" : strerrorname_np(errno));
}
