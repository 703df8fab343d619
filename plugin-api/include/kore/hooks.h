/*
 * For sources that include this file. kore.h declares the hooks of a worker. An application may define the hooks of
 * Kore's parent process and kore_worker_signal, but they are never called: no plugin code runs in the parent.
 */
#ifndef CALLSIGN_KORE_HOOKS_H
#define CALLSIGN_KORE_HOOKS_H

#include "kore.h"

#if defined(__cplusplus)
extern "C" {
#endif

void kore_parent_configure(int argc, char **argv);
void kore_parent_daemonized(void);
void kore_parent_teardown(void);
void kore_worker_signal(int number);

#if defined(__cplusplus)
}
#endif

#endif
