/* The values of znodes in the answer to a multiRead: what `MultiRead.deserialize` in hybridsync/zookeeper/wire.py
 * does with a result that is a value. It stops in front of anything else, and of what does not look right: to say
 * what is wrong with it is for Python.
 *
 * A result: its kind, whether the answer ends here, an error (4 + 1 + 4 bytes), the length of the value (4), the
 * value, and the stat. -1 is the length of a value that is null.
 */

#include "native.h"

enum { KIND_GET_DATA = 4, HEADER_BYTES = 13, CHILDREN_OFFSET = 56, DATA_FIELDS = 4 };

static const char HEADER[9] = {0, 0, 0, KIND_GET_DATA, 0, 0, 0, 0, 0};

PyObject *znode_version(uint64_t czxid, uint64_t mzxid, uint64_t mtime)
{
    unsigned char bytes[24];
    const uint64_t parts[3] = {mzxid, czxid, mtime};
    for (size_t part = 0; part < 3; part++)
        for (size_t i = 0; i < 8; i++)
            bytes[8 * part + i] = (unsigned char)(parts[part] >> 8 * i);
#if PY_VERSION_HEX >= 0x030d0000
    return PyLong_FromUnsignedNativeBytes(bytes, sizeof bytes, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
#else
    return _PyLong_FromByteArray(bytes, sizeof bytes, 1, 0);
#endif
}

/* A named tuple that has no items yet: until it has, no other Python object may be made that takes part in garbage
 * collection, since a collection lets other code see it. */
static PyObject *new_tuple(PyTypeObject *type, Py_ssize_t size)
{
    PyObject *tuple = type->tp_alloc(type, size);
#if PY_VERSION_HEX >= 0x030e0000
    if (tuple != NULL)
        ((PyTupleObject *)tuple)->ob_hash = -1; /* not known yet */
#endif
    return tuple;
}

/* A `Data`, which is a named tuple of the value, its stat as it came, the version and how many children there are. */
static PyObject *new_data(PyTypeObject *type, const char *value, Py_ssize_t length)
{
    const char *stat = value + length;
    PyObject *parts[DATA_FIELDS] = {
        PyBytes_FromStringAndSize(value, length),
        PyBytes_FromStringAndSize(stat, STAT_BYTES),
        znode_version(big_endian(stat, 8), big_endian(stat + 8, 8), big_endian(stat + 24, 8)),
        PyLong_FromLong((int32_t)(uint32_t)big_endian(stat + CHILDREN_OFFSET, 4)),
    };
    int complete = 1;
    for (int i = 0; i < DATA_FIELDS; i++)
        complete &= parts[i] != NULL;
    PyObject *data = complete ? new_tuple(type, DATA_FIELDS) : NULL;
    for (int i = 0; i < DATA_FIELDS; i++)
        if (data != NULL)
            PyTuple_SET_ITEM(data, i, parts[i]);
        else
            Py_XDECREF(parts[i]);
    return data;
}

static int is_tuple_type(PyObject *given)
{
    return PyType_Check(given) && PyType_IsSubtype((PyTypeObject *)given, &PyTuple_Type);
}

/* (answer: bytes, offset: int, most: int, Data: type) -> (list of at most so many Data, offset) */
PyObject *znode_values(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    (void)module;
    if (count != 4 || !PyBytes_Check(given[0]) || !PyLong_Check(given[1]) || !PyLong_Check(given[2]) ||
        !is_tuple_type(given[3])) {
        PyErr_SetString(PyExc_TypeError, "(answer: bytes, offset: int, most: int, Data: type)");
        return NULL;
    }
    const char *bytes = PyBytes_AS_STRING(given[0]);
    Py_ssize_t size = PyBytes_GET_SIZE(given[0]), offset = PyLong_AsSsize_t(given[1]), most = PyLong_AsSsize_t(given[2]);
    if (PyErr_Occurred())
        return NULL;
    PyObject *values = PyList_New(0);
    if (values == NULL)
        return NULL;
    while (offset >= 0 && size - offset >= HEADER_BYTES + STAT_BYTES && PyList_GET_SIZE(values) < most) {
        const char *result = bytes + offset;
        Py_ssize_t length = (int32_t)(uint32_t)big_endian(result + sizeof HEADER, 4);
        if (memcmp(result, HEADER, sizeof HEADER) != 0 || length < -1)
            break;
        length = length < 0 ? 0 : length;
        if (size - offset - HEADER_BYTES - STAT_BYTES < length)
            break;
        PyObject *data = new_data((PyTypeObject *)given[3], result + HEADER_BYTES, length);
        if (data == NULL || PyList_Append(values, data) != 0) {
            Py_XDECREF(data);
            Py_DECREF(values);
            return NULL;
        }
        Py_DECREF(data);
        offset += HEADER_BYTES + length + STAT_BYTES;
    }
    return Py_BuildValue("Nn", values, offset);
}
