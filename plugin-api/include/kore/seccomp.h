/*
 * For sources that define a seccomp filter: the macros compile and install no filter, and the log says so when the library
 * is loaded. A worker needs other system calls than a worker of Kore; restrict the server's process, for example with
 * SystemCallFilter= of systemd.
 */
#ifndef CALLSIGN_KORE_SECCOMP_H
#define CALLSIGN_KORE_SECCOMP_H

#include "kore.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#if defined(__cplusplus)
extern "C" {
#endif

/* Defines a hook that is never called. */
#define KORE_SECCOMP_FILTER(name, ...) \
	void kore_seccomp_hook(void) \
	{ \
	}

#define CALLSIGN_KORE_NO_FILTER {0, 0, 0, 0}
#define KORE_SYSCALL_FILTER(call, action) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_ARG(call, arg, value, action) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_MASK(call, arg, mask, action) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_WITH_FLAG(call, arg, flag, action) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_DENY(call, error) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_DENY_ARG(call, arg, value, error) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_DENY_MASK(call, arg, mask, error) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_DENY_WITH_FLAG(call, arg, flag, error) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_ALLOW(call) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_ALLOW_LOG(call) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_ALLOW_ARG(call, arg, value) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_ALLOW_MASK(call, arg, mask) CALLSIGN_KORE_NO_FILTER
#define KORE_SYSCALL_ALLOW_WITH_FLAG(call, arg, flag) CALLSIGN_KORE_NO_FILTER
#define KORE_BPF_LOAD(field, offset) CALLSIGN_KORE_NO_FILTER
#define KORE_BPF_RET(value) CALLSIGN_KORE_NO_FILTER
#define KORE_BPF_CMP(value, if_true, if_false) CALLSIGN_KORE_NO_FILTER
#define KORE_BPF_AND(value) CALLSIGN_KORE_NO_FILTER
#define KORE_BPF_GUARD CALLSIGN_KORE_NO_FILTER
#define KORE_FILTER_LEN(filter) (sizeof(filter) / sizeof(*(filter)))

/* Installs nothing. */
static inline int kore_seccomp_filter(const char *name, void *filter, size_t length)
{
	(void)name;
	(void)filter;
	(void)length;
	return KORE_RESULT_OK;
}

#if defined(__cplusplus)
}
#endif

#endif
