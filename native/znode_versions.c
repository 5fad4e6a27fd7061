/* From the shown fields of mirrored znodes to key → version: what `ZnodeCodec.version_in` in
 * hybridsync/sinks/znode_codec.py says of the documents that hybridsync writes.
 *
 * Shown are `_id`, `version`, `stat.czxid` and `stat.mtime`. Of our documents everything but the path has a fixed
 * size, so one is ours exactly when the rest is as below, byte by byte. Any other one is left to Python.
 */

#include "native.h"

enum { LENGTH_BYTES = 4, SMALLEST_DOCUMENT = 5, NUMBER_BYTES = 8 };

static const char ID[] = "\x02_id";                               /* then its length and the path with a NUL */
static const char VERSION[] = "\x12version";                      /* then 8 bytes */
static const char STAT_CZXID[] = "\x03stat\0\x23\0\0\0\x12" "czxid"; /* then 8 bytes */
static const char MTIME[] = "\x09mtime";                          /* then 8 bytes */
static const char END[2] = {0, 0};

/* What stands after the path; each name is followed by its NUL, which `sizeof` counts. */
typedef struct {
    const char *version, *czxid, *mtime;
} Numbers;

enum {
    TAIL_BYTES = sizeof VERSION + sizeof STAT_CZXID + sizeof MTIME + 3 * NUMBER_BYTES + sizeof END,
    PATH_AT = LENGTH_BYTES + sizeof ID + LENGTH_BYTES,
};

static int take(const char **at, const char *expected, size_t size)
{
    int same = memcmp(*at, expected, size) == 0;
    *at += size;
    return same;
}

static const char *number(const char **at)
{
    const char *bytes = *at;
    *at += NUMBER_BYTES;
    return bytes;
}

/* Whether a document of `size` bytes is ours: then also where its numbers are, and how long its path is. */
static int is_ours(const char *document, Py_ssize_t size, Numbers *numbers, Py_ssize_t *path)
{
    Py_ssize_t text = size - PATH_AT - TAIL_BYTES; /* the path and its NUL */
    if (text < 1 || memcmp(document + LENGTH_BYTES, ID, sizeof ID) != 0 ||
        little_endian(document + PATH_AT - LENGTH_BYTES, LENGTH_BYTES) != (uint64_t)text ||
        document[PATH_AT + text - 1] != 0)
        return 0;
    const char *at = document + PATH_AT + text;
    *path = text - 1;
    if (!take(&at, VERSION, sizeof VERSION))
        return 0;
    numbers->version = number(&at);
    if (!take(&at, STAT_CZXID, sizeof STAT_CZXID))
        return 0;
    numbers->czxid = number(&at);
    if (!take(&at, MTIME, sizeof MTIME))
        return 0;
    numbers->mtime = number(&at);
    return take(&at, END, sizeof END);
}

/* 1: taken in; 0: left to Python; -1: an error. */
static int take_in(PyObject *index, const char *document, Py_ssize_t size)
{
    Numbers numbers;
    Py_ssize_t path;
    if (!is_ours(document, size, &numbers, &path))
        return 0;
    PyObject *key = PyUnicode_DecodeUTF8(document + PATH_AT, path, NULL);
    if (key == NULL) {
        PyErr_Clear();
        return 0;
    }
    PyObject *version = znode_version(little_endian(numbers.czxid, 8), little_endian(numbers.version, 8),
                                      little_endian(numbers.mtime, 8));
    int failed = version == NULL || PyDict_SetItem(index, key, version) != 0;
    Py_DECREF(key);
    Py_XDECREF(version);
    return failed ? -1 : 1;
}

static int append(PyObject *rest, const char *document, Py_ssize_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize(document, size);
    int failed = bytes == NULL || PyList_Append(rest, bytes) != 0;
    Py_XDECREF(bytes);
    return failed ? -1 : 0;
}

/* (documents: bytes, one after the other) -> (dict of key → version, list of the documents left to Python) */
PyObject *znode_versions(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    (void)module;
    if (count != 1 || !PyBytes_Check(given[0])) {
        PyErr_SetString(PyExc_TypeError, "(documents: bytes)");
        return NULL;
    }
    const char *at = PyBytes_AS_STRING(given[0]), *end = at + PyBytes_GET_SIZE(given[0]);
    PyObject *index = PyDict_New(), *rest = PyList_New(0);
    int failed = index == NULL || rest == NULL;
    while (!failed && at < end) {
        Py_ssize_t left = end - at, size = left;
        uint64_t told = left < SMALLEST_DOCUMENT ? 0 : little_endian(at, LENGTH_BYTES);
        int taken = 0;
        if (told >= SMALLEST_DOCUMENT && told <= (uint64_t)left) { /* else it is no document: Python will say so */
            size = (Py_ssize_t)told;
            taken = take_in(index, at, size);
        }
        failed = taken < 0 || (taken == 0 && append(rest, at, size) < 0);
        at += size;
    }
    if (failed) {
        Py_XDECREF(index);
        Py_XDECREF(rest);
        return NULL;
    }
    return Py_BuildValue("NN", index, rest);
}
