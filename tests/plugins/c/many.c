/* A plugin with 12000 handlers, whose names have more than a megabyte. */
#include <callsign.h>

CALLSIGN_PLUGIN("many", "1");

#define NAME(n) a_handler_whose_name_is_so_long_that_the_names_of_all_handlers_do_not_fit_into_a_megabyte_##n

#define HANDLER(name) \
	int32_t name(struct callsign_request *request) \
	{ \
		callsign_respond_body(request, #name, sizeof #name - 1); \
		return 1; \
	} \
	CALLSIGN_ONREQUEST(name);

#define TIMES_1(n) HANDLERS(NAME(n))
#define HANDLERS(name) HANDLER(name)
#define TIMES_10(n) \
	TIMES_1(n##0) TIMES_1(n##1) TIMES_1(n##2) TIMES_1(n##3) TIMES_1(n##4) \
	TIMES_1(n##5) TIMES_1(n##6) TIMES_1(n##7) TIMES_1(n##8) TIMES_1(n##9)
#define TIMES_100(n) \
	TIMES_10(n##0) TIMES_10(n##1) TIMES_10(n##2) TIMES_10(n##3) TIMES_10(n##4) \
	TIMES_10(n##5) TIMES_10(n##6) TIMES_10(n##7) TIMES_10(n##8) TIMES_10(n##9)
#define TIMES_1000(n) \
	TIMES_100(n##0) TIMES_100(n##1) TIMES_100(n##2) TIMES_100(n##3) TIMES_100(n##4) \
	TIMES_100(n##5) TIMES_100(n##6) TIMES_100(n##7) TIMES_100(n##8) TIMES_100(n##9)

TIMES_1000(10)
TIMES_1000(11)
TIMES_1000(12)
TIMES_1000(13)
TIMES_1000(14)
TIMES_1000(15)
TIMES_1000(16)
TIMES_1000(17)
TIMES_1000(18)
TIMES_1000(19)
TIMES_1000(20)
TIMES_1000(21)
