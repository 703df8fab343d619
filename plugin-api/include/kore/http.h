/*
 * Kore's API for requests, on Callsign. A page handler is a function `int page(struct http_request *)`, named by a route.
 * The handler returns KORE_RESULT_OK; KORE_RESULT_ERROR responds with a 500. The request and everything read from it are
 * valid until the handler returns. See kore.h.
 */
#ifndef CALLSIGN_KORE_HTTP_H
#define CALLSIGN_KORE_HTTP_H

#include "kore.h"

#include <float.h>
#include <strings.h>

#if defined(__cplusplus)
extern "C" {
#endif

/* Methods of a request; 0 is any other method. */
#define HTTP_METHOD_GET 0x01
#define HTTP_METHOD_POST 0x02
#define HTTP_METHOD_PUT 0x04
#define HTTP_METHOD_DELETE 0x10
#define HTTP_METHOD_HEAD 0x20
#define HTTP_METHOD_OPTIONS 0x40
#define HTTP_METHOD_PATCH 0x80
#define HTTP_METHOD_ALL 0xf7

/* Result types of http_argument_get. */
#define HTTP_ARG_TYPE_RAW 0
#define HTTP_ARG_TYPE_BYTE 1
#define HTTP_ARG_TYPE_INT16 2
#define HTTP_ARG_TYPE_UINT16 3
#define HTTP_ARG_TYPE_INT32 4
#define HTTP_ARG_TYPE_UINT32 5
#define HTTP_ARG_TYPE_STRING 6
#define HTTP_ARG_TYPE_INT64 7
#define HTTP_ARG_TYPE_UINT64 8
#define HTTP_ARG_TYPE_FLOAT 9
#define HTTP_ARG_TYPE_DOUBLE 10

/* Flags of a cookie. */
#define HTTP_COOKIE_HTTPONLY 0x0001
#define HTTP_COOKIE_SECURE 0x0002

enum http_status_code {
	HTTP_STATUS_CONTINUE = 100,
	HTTP_STATUS_SWITCHING_PROTOCOLS = 101,
	HTTP_STATUS_OK = 200,
	HTTP_STATUS_CREATED = 201,
	HTTP_STATUS_ACCEPTED = 202,
	HTTP_STATUS_NON_AUTHORITATIVE = 203,
	HTTP_STATUS_NO_CONTENT = 204,
	HTTP_STATUS_RESET_CONTENT = 205,
	HTTP_STATUS_PARTIAL_CONTENT = 206,
	HTTP_STATUS_MULTIPLE_CHOICES = 300,
	HTTP_STATUS_MOVED_PERMANENTLY = 301,
	HTTP_STATUS_FOUND = 302,
	HTTP_STATUS_SEE_OTHER = 303,
	HTTP_STATUS_NOT_MODIFIED = 304,
	HTTP_STATUS_USE_PROXY = 305,
	HTTP_STATUS_TEMPORARY_REDIRECT = 307,
	HTTP_STATUS_BAD_REQUEST = 400,
	HTTP_STATUS_UNAUTHORIZED = 401,
	HTTP_STATUS_PAYMENT_REQUIRED = 402,
	HTTP_STATUS_FORBIDDEN = 403,
	HTTP_STATUS_NOT_FOUND = 404,
	HTTP_STATUS_METHOD_NOT_ALLOWED = 405,
	HTTP_STATUS_NOT_ACCEPTABLE = 406,
	HTTP_STATUS_PROXY_AUTH_REQUIRED = 407,
	HTTP_STATUS_REQUEST_TIMEOUT = 408,
	HTTP_STATUS_CONFLICT = 409,
	HTTP_STATUS_GONE = 410,
	HTTP_STATUS_LENGTH_REQUIRED = 411,
	HTTP_STATUS_PRECONDITION_FAILED = 412,
	HTTP_STATUS_REQUEST_ENTITY_TOO_LARGE = 413,
	HTTP_STATUS_REQUEST_URI_TOO_LARGE = 414,
	HTTP_STATUS_UNSUPPORTED_MEDIA_TYPE = 415,
	HTTP_STATUS_REQUEST_RANGE_INVALID = 416,
	HTTP_STATUS_EXPECTATION_FAILED = 417,
	HTTP_STATUS_MISDIRECTED_REQUEST = 421,
	HTTP_STATUS_INTERNAL_ERROR = 500,
	HTTP_STATUS_NOT_IMPLEMENTED = 501,
	HTTP_STATUS_BAD_GATEWAY = 502,
	HTTP_STATUS_SERVICE_UNAVAILABLE = 503,
	HTTP_STATUS_GATEWAY_TIMEOUT = 504,
	HTTP_STATUS_BAD_VERSION = 505
};

/* A cookie of the response may be changed until http_response or kore_websocket_handshake is called. */
struct http_cookie {
	char *name;
	char *value;
	char *path;
	char *domain;
	u_int32_t maxage;
	time_t expires;
	u_int16_t flags;
	struct http_cookie *callsign_next;
};

/* Sets the response: a status of 200 to 599, and a body, which is copied. */
static inline void http_response(struct http_request *req, int status, const void *body, size_t len);
/*
 * Responds with `data`, which has this content type and this entity tag, in its quotes; with 304 if the client has it. A
 * method other than GET and HEAD gets a 405. Used by the functions asset_serve_NAME_EXT of `callsign assets`.
 */
static inline void http_serveable(struct http_request *req, const void *data, size_t len, const char *etag,
    const char *type);
/* Adds a header to the response, before or after http_response or kore_websocket_handshake. */
static inline void http_response_header(struct http_request *req, const char *name, const char *value);
/* The request's header of that name, which is case-insensitive. */
static inline int http_request_header(struct http_request *req, const char *name, const char **out);
/* The same header, converted to a number. */
static inline int http_request_header_get(struct http_request *req, const char *name, void **out, void *number, int type);

/* Parse the arguments of the query, and of the body of a POST. Arguments need no declaration; all are parsed. */
static inline void http_populate_qs(struct http_request *req);
static inline void http_populate_post(struct http_request *req);
#define http_populate_get http_populate_qs
/* The argument of that name as text, or as a number. Fails if the text is not a number of that type. */
static inline int http_argument_get(struct http_request *req, const char *name, void **out, void *number, int type);

/* Reads the next bytes of the body; returns 0 at its end. */
static inline ssize_t http_body_read(struct http_request *req, void *out, size_t len);
static inline int http_body_rewind(struct http_request *req);

/* Parses the cookies of the request. */
static inline void http_populate_cookies(struct http_request *req);
static inline int http_request_cookie(struct http_request *req, const char *name, char **out);
/* Adds a cookie to the response: HttpOnly, Secure, for the request's host. `path` and `out` may be NULL, times 0. */
static inline void http_response_cookie(struct http_request *req, const char *name, const char *value,
    const char *path, time_t expires, u_int32_t maxage, struct http_cookie **out);

/* Allocates the request's hdlr_extra, `len` zero bytes; returns it; tells whether it is set; frees it. */
static inline void *http_state_create(struct http_request *req, size_t len);
static inline void *http_state_get(struct http_request *req);
static inline int http_state_exists(struct http_request *req);
static inline void http_state_cleanup(struct http_request *req);

static inline const char *http_method_text(int method);

#define http_argument_get_string(r, n, o) http_argument_get(r, n, (void **)(o), NULL, HTTP_ARG_TYPE_STRING)
#define http_argument_get_byte(r, n, o) http_argument_get(r, n, NULL, o, HTTP_ARG_TYPE_BYTE)
#define http_argument_get_int16(r, n, o) http_argument_get(r, n, NULL, o, HTTP_ARG_TYPE_INT16)
#define http_argument_get_uint16(r, n, o) http_argument_get(r, n, NULL, o, HTTP_ARG_TYPE_UINT16)
#define http_argument_get_int32(r, n, o) http_argument_get(r, n, NULL, o, HTTP_ARG_TYPE_INT32)
#define http_argument_get_uint32(r, n, o) http_argument_get(r, n, NULL, o, HTTP_ARG_TYPE_UINT32)
#define http_argument_get_int64(r, n, o) http_argument_get(r, n, NULL, o, HTTP_ARG_TYPE_INT64)
#define http_argument_get_uint64(r, n, o) http_argument_get(r, n, NULL, o, HTTP_ARG_TYPE_UINT64)
#define http_argument_get_float(r, n, o) http_argument_get(r, n, NULL, o, HTTP_ARG_TYPE_FLOAT)
#define http_argument_get_double(r, n, o) http_argument_get(r, n, NULL, o, HTTP_ARG_TYPE_DOUBLE)

#define http_request_header_byte(r, n, o) http_request_header_get(r, n, NULL, o, HTTP_ARG_TYPE_BYTE)
#define http_request_header_int16(r, n, o) http_request_header_get(r, n, NULL, o, HTTP_ARG_TYPE_INT16)
#define http_request_header_uint16(r, n, o) http_request_header_get(r, n, NULL, o, HTTP_ARG_TYPE_UINT16)
#define http_request_header_int32(r, n, o) http_request_header_get(r, n, NULL, o, HTTP_ARG_TYPE_INT32)
#define http_request_header_uint32(r, n, o) http_request_header_get(r, n, NULL, o, HTTP_ARG_TYPE_UINT32)
#define http_request_header_int64(r, n, o) http_request_header_get(r, n, NULL, o, HTTP_ARG_TYPE_INT64)
#define http_request_header_uint64(r, n, o) http_request_header_get(r, n, NULL, o, HTTP_ARG_TYPE_UINT64)
#define http_request_header_float(r, n, o) http_request_header_get(r, n, NULL, o, HTTP_ARG_TYPE_FLOAT)
#define http_request_header_double(r, n, o) http_request_header_get(r, n, NULL, o, HTTP_ARG_TYPE_DOUBLE)

#include "callsign/requests.h"

#if defined(__cplusplus)
}
#endif

#endif
