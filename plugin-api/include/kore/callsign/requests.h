/*
 * Implementation of http.h: responses, arguments, cookies. Memory that it allocates is freed with the request.
 */
#ifndef CALLSIGN_KORE_REQUESTS_H
#define CALLSIGN_KORE_REQUESTS_H

struct http_arg {
	const char *name;
	const char *value;
	struct http_arg *next;
};

static inline void http_response(struct http_request *req, int status, const void *body, size_t len)
{
	char why[80];
	int length;

	callsign_kore_finish(req);
	req->status = (u_int32_t)status;
	if (status < 0 || status > UINT16_MAX || callsign_kore_host->respond_status(req, (uint16_t)status) < 0) {
		length = snprintf(why, sizeof why, "http_response: status %d is not one of 200 to 599", status);
		(void)callsign_kore_host->fail(why, (size_t)length, NULL, 0);
		return;
	}
	if (callsign_kore_host->respond_body(req, body, body != NULL ? len : 0) < 0)
		kore_log(LOG_ERR, "http_response: the host rejected the body");
}

static inline void http_response_header(struct http_request *req, const char *name, const char *value)
{
	if (callsign_kore_host->respond_header(req, name, value) < 0)
		kore_log(LOG_WARNING, "http_response_header: `%s` is left out: it is malformed, or the host sets it itself",
		    name != NULL ? name : "NULL");
}

static inline void http_serveable(struct http_request *req, const void *data, size_t len, const char *etag,
    const char *type)
{
	const char *match = callsign_kore_host->request_header(req, "if-none-match");

	if (req->method != HTTP_METHOD_GET && req->method != HTTP_METHOD_HEAD) {
		http_response_header(req, "allow", "GET, HEAD");
		http_response(req, HTTP_STATUS_METHOD_NOT_ALLOWED, NULL, 0);
		return;
	}
	http_response_header(req, "etag", etag);
	/* RFC 9110 section 13.1.2: `*`, or a list of tags. */
	if (match != NULL && (strcmp(match, "*") == 0 || strstr(match, etag) != NULL)) {
		http_response(req, HTTP_STATUS_NOT_MODIFIED, NULL, 0);
		return;
	}
	http_response_header(req, "content-type", type);
	http_response(req, HTTP_STATUS_OK, data, len);
}

static inline int http_request_header(struct http_request *req, const char *name, const char **out)
{
	const char *value = callsign_kore_host->request_header(req, name);

	if (value == NULL)
		return KORE_RESULT_ERROR;
	*out = value;
	return KORE_RESULT_OK;
}

/*
 * Converts a text to the requested type. Results are copied with memcpy, because `out` may be the address of a pointer of
 * any type. Not inline: the compiler would warn about results that are uninitialized if the argument does not exist.
 */
static __attribute__((noinline, unused)) int callsign_kore_convert(const char *text, void **out, void *number, int type)
{
	static const struct {
		long long min, max;
		size_t size;
	} integers[] = {
		{SHRT_MIN, SHRT_MAX, 2},
		{0, USHRT_MAX, 2},
		{INT_MIN, INT_MAX, 4},
		{0, UINT_MAX, 4},
	};
	int err = KORE_RESULT_ERROR;
	long long whole;
	u_int64_t large;
	double real;
	float small;
	int16_t two;
	int32_t four;

	if (type == HTTP_ARG_TYPE_STRING || type == HTTP_ARG_TYPE_RAW) {
		if (out == NULL)
			return KORE_RESULT_ERROR;
		memcpy(out, &text, sizeof text);
		return KORE_RESULT_OK;
	}
	if (number == NULL)
		return KORE_RESULT_ERROR;
	switch (type) {
	case HTTP_ARG_TYPE_BYTE:
		memcpy(number, text, 1);
		return KORE_RESULT_OK;
	case HTTP_ARG_TYPE_INT16:
	case HTTP_ARG_TYPE_UINT16:
	case HTTP_ARG_TYPE_INT32:
	case HTTP_ARG_TYPE_UINT32:
		type -= HTTP_ARG_TYPE_INT16;
		whole = kore_strtonum(text, 10, integers[type].min, integers[type].max, &err);
		two = (int16_t)whole;
		four = (int32_t)whole;
		if (err == KORE_RESULT_OK)
			memcpy(number, integers[type].size == 2 ? (void *)&two : (void *)&four, integers[type].size);
		return err;
	case HTTP_ARG_TYPE_INT64:
	case HTTP_ARG_TYPE_UINT64:
		large = kore_strtonum64(text, type == HTTP_ARG_TYPE_INT64, &err);
		if (err == KORE_RESULT_OK)
			memcpy(number, &large, sizeof large);
		return err;
	case HTTP_ARG_TYPE_FLOAT:
		small = (float)kore_strtodouble(text, -FLT_MAX, FLT_MAX, &err);
		if (err == KORE_RESULT_OK)
			memcpy(number, &small, sizeof small);
		return err;
	case HTTP_ARG_TYPE_DOUBLE:
		real = kore_strtodouble(text, -DBL_MAX, DBL_MAX, &err);
		if (err == KORE_RESULT_OK)
			memcpy(number, &real, sizeof real);
		return err;
	}
	return err;
}

static inline int http_request_header_get(struct http_request *req, const char *name, void **out, void *number, int type)
{
	const char *value;

	if (!http_request_header(req, name, &value))
		return KORE_RESULT_ERROR;
	return callsign_kore_convert(value, out, number, type);
}

static inline int callsign_kore_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decodes in place; an invalid code is kept. Returns 0 if the text contains encoded control characters. */
static inline int callsign_kore_decode(char *text, int may_break_lines)
{
	char *to = text;
	int high, low;

	for (; *text != '\0'; text++, to++) {
		*to = *text == '+' ? ' ' : *text;
		if (*text != '%' || (high = callsign_kore_hex(text[1])) < 0 || (low = callsign_kore_hex(text[2])) < 0)
			continue;
		*to = (char)(high << 4 | low);
		text += 2;
		if ((unsigned char)*to > 0x1f && *to != 0x7f)
			continue;
		if (!may_break_lines || (*to != '\n' && *to != '\r' && *to != '\t'))
			return 0;
	}
	*to = '\0';
	return 1;
}

/* Parses arguments from NAME=VALUE&NAME=VALUE. Skips arguments without a name or a value. */
static inline void callsign_kore_arguments(struct http_request *req, const char *form, size_t length, int is_body)
{
	struct callsign_kore_request *state = callsign_kore_of(req);
	struct http_arg **last = &state->arguments, *argument;
	char *text = callsign_kore_text(state, form, length), *next, *value;

	while (*last != NULL)
		last = &(*last)->next;
	for (; text != NULL; text = next) {
		next = strchr(text, '&');
		if (next != NULL)
			*next++ = '\0';
		value = strchr(text, '=');
		if (value == NULL || value == text || value[1] == '\0')
			continue;
		*value++ = '\0';
		if (!callsign_kore_decode(text, is_body) || !callsign_kore_decode(value, is_body))
			continue;
		argument = (struct http_arg *)callsign_kore_with_request(state, sizeof *argument);
		argument->name = text;
		argument->value = value;
		*last = argument;
		last = &argument->next;
	}
}

static inline void http_populate_qs(struct http_request *req)
{
	if (req->query_string[0] != '\0')
		callsign_kore_arguments(req, req->query_string, strlen(req->query_string), 0);
}

static inline void http_populate_post(struct http_request *req)
{
	if (req->method == HTTP_METHOD_POST && req->http_body_length > 0)
		callsign_kore_arguments(req, (const char *)req->callsign_body, req->http_body_length, 1);
}

static inline int http_argument_get(struct http_request *req, const char *name, void **out, void *number, int type)
{
	struct http_arg *argument = callsign_kore_of(req)->arguments;

	for (; name != NULL && argument != NULL; argument = argument->next)
		if (strcmp(argument->name, name) == 0)
			return callsign_kore_convert(argument->value, out, number, type);
	return KORE_RESULT_ERROR;
}

static inline ssize_t http_body_read(struct http_request *req, void *out, size_t len)
{
	struct callsign_kore_request *state = callsign_kore_of(req);
	size_t left = req->http_body_length - state->body_offset;

	if (len > left)
		len = left;
	if (len > 0)
		memcpy(out, req->callsign_body + state->body_offset, len);
	state->body_offset += len;
	return (ssize_t)len;
}

static inline int http_body_rewind(struct http_request *req)
{
	callsign_kore_of(req)->body_offset = 0;
	return KORE_RESULT_OK;
}

static inline void http_populate_cookies(struct http_request *req)
{
	struct callsign_kore_request *state;
	struct http_cookie *cookie, **last;
	const char *header;
	char *text, *next, *value;

	if (!http_request_header(req, "cookie", &header))
		return;
	state = callsign_kore_of(req);
	for (last = &state->cookies; *last != NULL; last = &(*last)->callsign_next)
		;
	for (text = callsign_kore_text(state, header, strlen(header)); text != NULL; text = next) {
		next = strchr(text, ';');
		if (next != NULL)
			*next++ = '\0';
		text += strspn(text, " \t");
		value = strchr(text, '=');
		if (value == NULL || value == text)
			continue;
		*value++ = '\0';
		cookie = (struct http_cookie *)callsign_kore_with_request(state, sizeof *cookie);
		cookie->name = text;
		cookie->value = value;
		*last = cookie;
		last = &cookie->callsign_next;
	}
}

static inline int http_request_cookie(struct http_request *req, const char *name, char **out)
{
	struct http_cookie *cookie = callsign_kore_of(req)->cookies;

	for (; name != NULL && cookie != NULL; cookie = cookie->callsign_next) {
		if (strcmp(cookie->name, name) == 0) {
			*out = cookie->value;
			return KORE_RESULT_OK;
		}
	}
	return KORE_RESULT_ERROR;
}

/* RFC 6265 §4.1. The date has the format of RFC 9110 §5.6.7, independent of the locale. */
static inline void callsign_kore_set_cookie(struct http_request *req, const struct http_cookie *cookie)
{
	static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct",
		"Nov", "Dec"};
	struct kore_buf text;
	struct tm date;

	kore_buf_init(&text, 128);
	kore_buf_appendf(&text, "%s=%s", cookie->name, cookie->value);
	if (cookie->path != NULL)
		kore_buf_appendf(&text, "; Path=%s", cookie->path);
	if (cookie->domain != NULL && cookie->domain[0] != '\0')
		kore_buf_appendf(&text, "; Domain=%s", cookie->domain);
	if (cookie->expires > 0 && gmtime_r(&cookie->expires, &date) != NULL)
		kore_buf_appendf(&text, "; Expires=%s, %02d %s %d %02d:%02d:%02d GMT", days[date.tm_wday], date.tm_mday,
		    months[date.tm_mon], date.tm_year + 1900, date.tm_hour, date.tm_min, date.tm_sec);
	if (cookie->maxage > 0)
		kore_buf_appendf(&text, "; Max-Age=%u", cookie->maxage);
	if (cookie->flags & HTTP_COOKIE_HTTPONLY)
		kore_buf_appendf(&text, "; HttpOnly");
	if (cookie->flags & HTTP_COOKIE_SECURE)
		kore_buf_appendf(&text, "; Secure");
	http_response_header(req, "set-cookie", kore_buf_stringify(&text, NULL));
	kore_buf_cleanup(&text);
}

static inline void callsign_kore_set_cookies(struct http_request *req)
{
	struct callsign_kore_request *state = callsign_kore_of(req);
	struct http_cookie *cookie = state->response_cookies;

	state->response_cookies = NULL;
	for (; cookie != NULL; cookie = cookie->callsign_next)
		callsign_kore_set_cookie(req, cookie);
}

static inline void http_response_cookie(struct http_request *req, const char *name, const char *value,
    const char *path, time_t expires, u_int32_t maxage, struct http_cookie **out)
{
	struct callsign_kore_request *state = callsign_kore_of(req);
	struct http_cookie *cookie = (struct http_cookie *)callsign_kore_with_request(state, sizeof *cookie);
	struct http_cookie **last = &state->response_cookies;
	const char *port;

	if (out != NULL)
		*out = cookie;
	if (name == NULL || value == NULL) {
		kore_log(LOG_ERR, "http_response_cookie: a cookie without a name or a value is left out");
		return;
	}
	cookie->name = callsign_kore_text(state, name, strlen(name));
	cookie->value = callsign_kore_text(state, value, strlen(value));
	if (path != NULL)
		cookie->path = callsign_kore_text(state, path, strlen(path));
	/* The port follows the last colon, unless that colon is inside the brackets of an IPv6 address. */
	port = strrchr(req->host, ':');
	if (port != NULL && strchr(port, ']') != NULL)
		port = NULL;
	cookie->domain = callsign_kore_text(state, req->host, port != NULL ? (size_t)(port - req->host) : strlen(req->host));
	cookie->expires = expires;
	cookie->maxage = maxage;
	cookie->flags = HTTP_COOKIE_HTTPONLY | HTTP_COOKIE_SECURE;
	while (*last != NULL)
		last = &(*last)->callsign_next;
	*last = cookie;
	state->finish = callsign_kore_set_cookies;
}

static inline void *http_state_create(struct http_request *req, size_t len)
{
	if (req->hdlr_extra != NULL)
		fatal("http_state_create: the request has a hdlr_extra already");
	req->hdlr_extra = kore_calloc(1, len);
	return req->hdlr_extra;
}

static inline void *http_state_get(struct http_request *req)
{
	return req->hdlr_extra;
}

static inline int http_state_exists(struct http_request *req)
{
	return req->hdlr_extra != NULL;
}

static inline void http_state_cleanup(struct http_request *req)
{
	kore_free(req->hdlr_extra);
	req->hdlr_extra = NULL;
}

static inline const char *http_method_text(int method)
{
	static const char *const texts[] = {"GET", "POST", "PUT", NULL, "DELETE", "HEAD", "OPTIONS", "PATCH"};
	size_t i;

	for (i = 0; i < sizeof texts / sizeof *texts; i++)
		if (method == 1 << i && texts[i] != NULL)
			return texts[i];
	return "";
}

#endif
