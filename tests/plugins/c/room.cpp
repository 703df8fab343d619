/* Counts messages in statics as g++ makes them unique: in an inline function, and in a template. With -DNAMED, the object
 * has another layout, in which the old object would be an invalid string. With -DLIBRARY this is no plugin but a library
 * with the same statics. */
#include <callsign.h>

#include <string>

struct Room {
#ifdef NAMED
	std::string name = "a room with a name of its own";
#endif
	int count = 0;
};

inline Room &room()
{
	static Room room;
	return room;
}

template <typename T> struct Total {
	static int messages;
};
template <typename T> int Total<T>::messages = 0;

#ifdef LIBRARY
int count_in_library() { return room().count + Total<int>::messages; }
#else
CALLSIGN_PLUGIN(NAME, "1");

#ifdef NEEDS
int count_in_library();
#endif

extern "C" void HANDLER(struct connection *c, uint8_t, const void *, size_t)
{
	std::string text = VERSION;
#ifdef NAMED
	room().name += "!";
#endif
#ifdef NEEDS
	text += " " + std::to_string(count_in_library());
#endif
	text += " " + std::to_string(++room().count) + " " + std::to_string(++Total<int>::messages);
	callsign_text(c, text.c_str());
}
#endif
