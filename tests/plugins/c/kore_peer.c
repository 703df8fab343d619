/* A handler for Kore that tells the address of its client. */
#include <kore/kore.h>
#include <kore/http.h>

int ip(struct http_request *);

int ip(struct http_request *req)
{
	const char *ip = kore_connection_ip(req->owner);

	http_response(req, 200, ip, strlen(ip));
	return (KORE_RESULT_OK);
}
