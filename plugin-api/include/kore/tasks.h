/* Kore's tasks are not supported; the message says what to do. */
#ifndef CALLSIGN_KORE_TASKS_H
#define CALLSIGN_KORE_TASKS_H

#error "Callsign has no tasks of Kore (kore/tasks.h): only the worker thread may call the server. See `Tasks` in examples/kore/README.md"

#endif
