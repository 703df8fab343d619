/* Throws where a message, a request or the load says. With -DUNGUARDED the library has no guard, as if it was compiled
 * with another header. */
#ifdef UNGUARDED
#define callsign_guard other_guard
#endif
#include <callsign.h>

#include <stdexcept>
#include <string>

static void release(struct connection *c)
{
	delete static_cast<std::string *>(c->data);
	c->data = NULL;
	throw std::runtime_error("release throws");
}

CALLSIGN_PLUGIN_HOOKS("exceptions", "1", 0, release, NULL, NULL, NULL, NULL);

/* Counts the frames of the stack that were unwound. */
static int unwound;
struct Frame {
	~Frame() { unwound++; }
};

static void later(void *, struct connection *) { throw std::out_of_range("later throws"); }
static void work(void *) { throw std::logic_error("work throws"); }
static void done(void *, struct connection *c) { callsign_text(c, "done"); }

extern "C" void onconnect(struct connection *c) { c->data = new std::string("data"); }

extern "C" void onmessage(struct connection *c, uint8_t, const void *data, size_t length)
{
	Frame frame;
	std::string text(static_cast<const char *>(data), length);
	if (text == "throw")
		throw std::runtime_error("no such\nroom");
	if (text == "int")
		throw 7;
	if (text == "timer")
		callsign_after(c, 1, later, NULL, NULL);
	else if (text == "work")
		callsign_background(c, work, done, NULL, NULL);
	else if (text == "unwound")
		callsign_text(c, std::to_string(unwound).c_str());
	else
		callsign_text(c, text.c_str());
}

static int32_t page(struct callsign_request *) { throw std::runtime_error("no such page"); }
CALLSIGN_ONREQUEST(page);

static int32_t load(const struct callsign_load *)
{
#ifdef LOAD_THROWS
	throw std::runtime_error("not today");
#else
	return 1;
#endif
}
CALLSIGN_ONLOAD(load);
