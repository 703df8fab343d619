/* For sources that include this file: kore.h declares the hooks. */
#ifndef CALLSIGN_KORE_HOOKS_H
#define CALLSIGN_KORE_HOOKS_H

#include "kore.h"

#endif
