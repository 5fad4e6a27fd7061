/* From a znode to the BSON of its document: what hybridsync/sinks/znode_document.py does, for the common cases.
 *
 * A wrong document would be stored, and declining costs microseconds, so nothing is guessed: escapes in strings,
 * numbers that Python would write in another way, objects of many keys and the like are declined.
 * BSON: https://bsonspec.org/spec.html; JSON: RFC 8259.
 *
 * Input is read between `at` and `end` only. Output grows in `room`, the one place that knows its size.
 */

#include "native.h"

#define MAX_BYTES (1 << 20) /* of key and value: larger ones are rare, and some have no document at all */
#define MAX_DEPTH 32
#define MAX_KEYS 32 /* of one object: each new one is compared with those before it */
#define MAX_DIGITS 18 /* of an integer: fits in 64 bits whatever they are */
#define MAX_NUMBER 40 /* characters of a number with a fraction or an exponent */

enum { DOUBLE = 1, STRING = 2, OBJECT = 3, ARRAY = 4, BINARY = 5, BOOLEAN = 8, DATE = 9, NONE = 10, INT32 = 16, INT64 = 18 };

/* -- output ---------------------------------------------------------------------------------------- */

typedef struct {
    char *start;
    size_t length, capacity;
} Output;

static int reserve(Output *out, size_t capacity)
{
    char *start = PyMem_Realloc(out->start, capacity);
    if (start == NULL)
        return 0;
    out->start = start;
    out->capacity = capacity;
    return 1;
}

/* Where `size` more bytes go; NULL when there is no memory. */
static char *room(Output *out, size_t size)
{
    if (out->capacity - out->length < size && !reserve(out, 2 * (out->length + size)))
        return NULL;
    out->length += size;
    return out->start + out->length - size;
}

static int put(Output *out, const void *bytes, size_t size)
{
    char *to = room(out, size);
    if (to == NULL)
        return 0;
    memcpy(to, bytes, size);
    return 1;
}

static int put_little_endian(Output *out, uint64_t number, size_t size)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(number >> 8 * i);
    return put(out, bytes, size);
}

/* The type of an element and its name with the NUL that ends it. */
static int put_name(Output *out, char type, const char *name, size_t length)
{
    char *to = room(out, length + 2);
    if (to == NULL)
        return 0;
    to[0] = type;
    memcpy(to + 1, name, length);
    to[length + 1] = 0;
    return 1;
}

static int put_text(Output *out, const char *text, size_t length)
{
    return put_little_endian(out, length + 1, 4) && put(out, text, length) && put(out, "", 1);
}

/* The length of an object, an array or the document that begins at `from`, whose end is here. */
static int close_at(Output *out, size_t from)
{
    if (!put(out, "", 1))
        return 0;
    uint32_t length = (uint32_t)(out->length - from);
    for (size_t i = 0; i < 4; i++)
        out->start[from + i] = (char)(length >> 8 * i);
    return 1;
}

/* -- JSON ------------------------------------------------------------------------------------------ */

typedef struct {
    const char *at, *end;
} Input;

typedef struct {
    const char *text;
    size_t length;
} Span;

static void skip_blanks(Input *in)
{
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r'))
        in->at++;
}

static int take(Input *in, char expected)
{
    if (in->at == in->end || *in->at != expected)
        return 0;
    in->at++;
    return 1;
}

/* A string without escapes, the opening quote included. That it is UTF-8 was seen to before. */
static int take_text(Input *in, Span *span)
{
    if (!take(in, '"'))
        return 0;
    span->text = in->at;
    while (in->at < in->end && *in->at != '"') {
        if (*in->at == '\\' || (unsigned char)*in->at < ' ')
            return 0;
        in->at++;
    }
    span->length = (size_t)(in->at - span->text);
    return take(in, '"');
}

static int take_word(Input *in, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(in->end - in->at) < length || memcmp(in->at, word, length) != 0)
        return 0;
    in->at += length;
    return 1;
}

static int is_digit(const Input *in)
{
    return in->at < in->end && *in->at >= '0' && *in->at <= '9';
}

static int is_of_fraction(const Input *in)
{
    return in->at < in->end && (*in->at == '.' || *in->at == 'e' || *in->at == 'E');
}

/* A number that Python writes as it stands here, so that nothing of it is lost. */
static int take_double(Input *in, const char *start, Output *out)
{
    char text[MAX_NUMBER + 1];
    while (is_digit(in) || is_of_fraction(in) || (in->at < in->end && (*in->at == '-' || *in->at == '+')))
        in->at++;
    size_t length = (size_t)(in->at - start);
    if (length > MAX_NUMBER)
        return 0;
    memcpy(text, start, length);
    text[length] = 0;
    double number = PyOS_string_to_double(text, NULL, NULL);
    if (PyErr_Occurred())
        return 0;
    char *shortest = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    int same = shortest != NULL && strcmp(shortest, text) == 0;
    PyMem_Free(shortest);
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return same && put_little_endian(out, bits, 8);
}

/* The number, and its type. */
static int take_number(Input *in, Output *out, char *type)
{
    const char *start = in->at;
    int negative = take(in, '-');
    const char *digits = in->at;
    int64_t number = 0;
    while (is_digit(in) && in->at - digits < MAX_DIGITS)
        number = number * 10 + (*in->at++ - '0');
    ptrdiff_t count = in->at - digits;
    if (count == 0 || is_digit(in) || (*digits == '0' && count > 1))
        return 0;
    if (is_of_fraction(in)) {
        *type = DOUBLE;
        return take_double(in, start, out);
    }
    if (negative && number == 0)
        return 0;
    number = negative ? -number : number;
    *type = number >= INT32_MIN && number <= INT32_MAX ? INT32 : INT64;
    return put_little_endian(out, (uint64_t)number, *type == INT32 ? 4 : 8);
}

static int take_value(Input *in, Output *out, char *type, int depth);

/* An element of an object or an array: its type is known only after its value, so it is written last. */
static int take_element(Input *in, Output *out, Span name, int depth)
{
    size_t from = out->length;
    char type = 0;
    if (!put_name(out, 0, name.text, name.length) || !take_value(in, out, &type, depth))
        return 0;
    out->start[from] = type;
    return 1;
}

static int take_object(Input *in, Output *out, int depth)
{
    Span keys[MAX_KEYS];
    size_t from = out->length;
    if (room(out, 4) == NULL)
        return 0;
    skip_blanks(in);
    if (take(in, '}'))
        return close_at(out, from);
    for (int count = 0; count < MAX_KEYS; count++) {
        Span *key = &keys[count];
        skip_blanks(in);
        if (!take_text(in, key) || (key->length == 4 && memcmp(key->text, "$ref", 4) == 0))
            return 0; /* a reference to another document is Python's to judge */
        for (int i = 0; i < count; i++)
            if (keys[i].length == key->length && memcmp(keys[i].text, key->text, key->length) == 0)
                return 0;
        skip_blanks(in);
        if (!take(in, ':') || !take_element(in, out, *key, depth))
            return 0;
        skip_blanks(in);
        if (take(in, '}'))
            return close_at(out, from);
        if (!take(in, ','))
            return 0;
    }
    return 0;
}

static int take_array(Input *in, Output *out, int depth)
{
    char digits[16], *end = digits + sizeof digits;
    size_t from = out->length;
    if (room(out, 4) == NULL)
        return 0;
    skip_blanks(in);
    if (take(in, ']'))
        return close_at(out, from);
    for (unsigned count = 0;; count++) {
        char *index = end;
        unsigned rest = count;
        do
            *--index = (char)('0' + rest % 10);
        while ((rest /= 10) != 0);
        Span name = {index, (size_t)(end - index)};
        if (!take_element(in, out, name, depth))
            return 0;
        skip_blanks(in);
        if (take(in, ']'))
            return close_at(out, from);
        if (!take(in, ','))
            return 0;
    }
}

static int take_value(Input *in, Output *out, char *type, int depth)
{
    Span text;
    skip_blanks(in);
    if (in->at == in->end || depth == MAX_DEPTH)
        return 0;
    switch (*in->at) {
    case '"':
        *type = STRING;
        return take_text(in, &text) && put_text(out, text.text, text.length);
    case '{':
        *type = OBJECT;
        in->at++;
        return take_object(in, out, depth + 1);
    case '[':
        *type = ARRAY;
        in->at++;
        return take_array(in, out, depth + 1);
    case 't':
        *type = BOOLEAN;
        return take_word(in, "true") && put(out, "\1", 1);
    case 'f':
        *type = BOOLEAN;
        return take_word(in, "false") && put(out, "", 1);
    case 'n':
        *type = NONE;
        return take_word(in, "null");
    default:
        return take_number(in, out, type);
    }
}

/* -- the document ---------------------------------------------------------------------------------- */

#define NAMED(name) name, sizeof name - 1

static int is_utf8(const char *bytes, size_t length)
{
    size_t i = 0;
    while (i < length && (unsigned char)bytes[i] < 0x80)
        i++;
    if (i == length)
        return 1;
    PyObject *text = PyUnicode_DecodeUTF8(bytes + i, (Py_ssize_t)(length - i), NULL);
    Py_XDECREF(text);
    return text != NULL;
}

/* `value` and `encoding`; 0 where Python must see for itself. */
static int put_value(Output *out, const char *data, size_t length)
{
    Input in = {data, data + length};
    const char *encoding = "binary";
    Span name = {NAMED("value")};
    skip_blanks(&in);
    int structured = in.at < in.end && (*in.at == '{' || *in.at == '[');
    if (length == 0) {
        encoding = "empty";
        if (!put_name(out, NONE, name.text, name.length))
            return 0;
    } else if (!is_utf8(data, length)) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
            return 0; /* no memory to find out */
        PyErr_Clear();
        if (!put_name(out, BINARY, name.text, name.length) || !put_little_endian(out, length, 4) || !put(out, "", 1) ||
            !put(out, data, length))
            return 0;
    } else if (structured) {
        encoding = "json";
        if (!take_element(&in, out, name, 1))
            return 0;
        skip_blanks(&in);
        if (in.at != in.end)
            return 0;
    } else {
        encoding = "utf8";
        if (!put_name(out, STRING, name.text, name.length) || !put_text(out, data, length))
            return 0;
    }
    return put_name(out, STRING, NAMED("encoding")) && put_text(out, encoding, strlen(encoding));
}

/* `_id`, `parent` and `name`. */
static int put_path(Output *out, const char *path, size_t length, int is_root)
{
    size_t slash = length;
    while (slash > 0 && path[slash - 1] != '/')
        slash--;
    if (slash == 0 || !put_name(out, STRING, NAMED("_id")) || !put_text(out, path, length))
        return 0;
    const char *name = path + slash;
    size_t name_length = length - slash;
    size_t parent_length = slash > 1 ? slash - 1 : 1;
    if (name_length == 0) { /* "/" itself */
        name = path;
        name_length = length;
    }
    if (is_root ? !put_name(out, NONE, NAMED("parent"))
                : !put_name(out, STRING, NAMED("parent")) || !put_text(out, path, parent_length))
        return 0;
    return put_name(out, STRING, NAMED("name")) && put_text(out, name, name_length);
}

/* An element with a number that ZooKeeper sent in `size` bytes; there is room. Returns where the next one goes. */
static inline char *number_at(char *to, char type, const char *name, size_t length, const char *sent, size_t size)
{
    uint64_t number = big_endian(sent, size);
    *to++ = type;
    memcpy(to, name, length + 1);
    to += length + 1;
    for (size_t i = 0; i < size; i++)
        *to++ = (char)(number >> 8 * i);
    return to;
}

#define NUMBER_BYTES(name, size) (1 + sizeof(name) + (size))
enum {
    FIELDS_BYTES = NUMBER_BYTES("czxid", 8) + NUMBER_BYTES("mzxid", 8) + NUMBER_BYTES("ctime", 8) + NUMBER_BYTES("mtime", 8) +
                   NUMBER_BYTES("version", 4) + NUMBER_BYTES("ephemeralOwner", 8) + NUMBER_BYTES("dataLength", 4)
};

/* `version` and `stat`. What is where in a stat: zookeeper.jute. */
static int put_stat(Output *out, const char *stat)
{
    char *to = room(out, NUMBER_BYTES("version", 8));
    if (to == NULL)
        return 0;
    number_at(to, INT64, NAMED("version"), stat + 8, 8);
    if (!put_name(out, OBJECT, NAMED("stat")))
        return 0;
    size_t from = out->length;
    to = room(out, 4 + FIELDS_BYTES);
    if (to == NULL)
        return 0;
    to = number_at(to + 4, INT64, NAMED("czxid"), stat, 8);
    to = number_at(to, INT64, NAMED("mzxid"), stat + 8, 8);
    to = number_at(to, DATE, NAMED("ctime"), stat + 16, 8);
    to = number_at(to, DATE, NAMED("mtime"), stat + 24, 8);
    to = number_at(to, INT32, NAMED("version"), stat + 32, 4);
    to = number_at(to, INT64, NAMED("ephemeralOwner"), stat + 44, 8);
    number_at(to, INT32, NAMED("dataLength"), stat + 52, 4);
    return close_at(out, from);
}

/* (key: str, value: bytes, stat: bytes as they came, root: str, synced_at: int) -> bytes | None */
PyObject *znode_document(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    (void)module;
    if (count != 5 || !PyUnicode_Check(given[0]) || !PyBytes_Check(given[1]) || !PyBytes_Check(given[2]) ||
        PyBytes_GET_SIZE(given[2]) != STAT_BYTES || !PyUnicode_Check(given[3])) {
        PyErr_SetString(PyExc_TypeError, "(key: str, value: bytes, stat: 68 bytes, root: str, synced_at: int)");
        return NULL;
    }
    Py_ssize_t length, size = PyBytes_GET_SIZE(given[1]);
    long long synced_at = PyLong_AsLongLong(given[4]);
    if (synced_at == -1 && PyErr_Occurred())
        return NULL;
    const char *path = PyUnicode_AsUTF8AndSize(given[0], &length);
    if (path == NULL)
        return NULL;
    int is_root = PyUnicode_Compare(given[0], given[3]) == 0;
    if (length > MAX_BYTES - size)
        Py_RETURN_NONE;
    Output out = {NULL, 0, 0};
    PyObject *made = NULL;
    /* All of a common document at once; then its length, which is written last. */
    if (reserve(&out, (size_t)(2 * length + size + 512)) && room(&out, 4) != NULL &&
        put_path(&out, path, (size_t)length, is_root) && put_value(&out, PyBytes_AS_STRING(given[1]), (size_t)size) &&
        put_stat(&out, PyBytes_AS_STRING(given[2])) && put_name(&out, DATE, NAMED("syncedAt")) &&
        put_little_endian(&out, (uint64_t)synced_at, 8) && close_at(&out, 0))
        made = PyBytes_FromStringAndSize(out.start, (Py_ssize_t)out.length);
    PyMem_Free(out.start);
    if (made == NULL) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return made;
}
