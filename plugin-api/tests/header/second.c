/* Second source file of the plugin in alone.c. */
#include "callsign.h"

const struct callsign_host *table_of_second(void);

const struct callsign_host *table_of_second(void)
{
	return callsign_host_table;
}
