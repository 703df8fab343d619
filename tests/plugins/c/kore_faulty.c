/* Deliberate faults: the page leaks 77 bytes; with the query `use` it uses memory after it has freed it. */
#include <kore/kore.h>
#include <kore/http.h>

int leak(struct http_request *req)
{
	volatile char *lost = kore_malloc(77);

	lost[0] = 1;
	lost = NULL;
	if (strcmp(req->query_string, "use") == 0) {
		char *used = kore_malloc(8);

		kore_free(used);
		*(volatile char *)used = 1;
	}
	http_response(req, HTTP_STATUS_OK, NULL, 0);
	return KORE_RESULT_OK;
}
