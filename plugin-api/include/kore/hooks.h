/*
 * For sources that include it: the hooks of a worker are in kore.h. Those of Kore's parent (kore_parent_configure and
 * its like) and kore_worker_signal may be defined, and are not called: no plugin code runs in the parent.
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
