/* The names of children in the answer to a multiRead: what `_read_names` in hybridsync/zookeeper/wire.py does. Anything
 * that is not as it should be is declined: to say what is wrong with it is for Python.
 *
 * How many there are (4 bytes), then each as its length (4) and its bytes.
 */

#include "native.h"

enum { INT_BYTES = 4 };

/* Adds up to `number` names from `*offset` on, which moves on. 0 with an exception, or without one when declined. */
static int add_names(PyObject *names, const char *bytes, Py_ssize_t size, Py_ssize_t *offset, Py_ssize_t number)
{
    for (Py_ssize_t i = 0; i < number; i++) {
        if (size - *offset < INT_BYTES)
            return 0;
        Py_ssize_t length = (int32_t)(uint32_t)big_endian(bytes + *offset, INT_BYTES);
        const char *name = bytes + *offset + INT_BYTES;
        if (length <= 0 || length > size - *offset - INT_BYTES || memchr(name, '/', (size_t)length) != NULL)
            return 0;
        PyObject *text = PyUnicode_DecodeUTF8(name, length, NULL);
        if (text == NULL || PyList_Append(names, text) != 0) {
            Py_XDECREF(text);
            return 0;
        }
        Py_DECREF(text);
        *offset += INT_BYTES + length;
    }
    return 1;
}

/* (answer: bytes, offset: int) -> (list of names, offset behind them) | None */
PyObject *znode_names(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    (void)module;
    if (count != 2 || !PyBytes_Check(given[0]) || !PyLong_Check(given[1])) {
        PyErr_SetString(PyExc_TypeError, "(answer: bytes, offset: int)");
        return NULL;
    }
    const char *bytes = PyBytes_AS_STRING(given[0]);
    Py_ssize_t size = PyBytes_GET_SIZE(given[0]), offset = PyLong_AsSsize_t(given[1]);
    if (PyErr_Occurred())
        return NULL;
    if (offset < 0 || size - offset < INT_BYTES)
        Py_RETURN_NONE;
    Py_ssize_t number = (int32_t)(uint32_t)big_endian(bytes + offset, INT_BYTES);
    offset += INT_BYTES;
    if (number < 0)
        Py_RETURN_NONE;
    PyObject *names = PyList_New(0);
    if (names == NULL)
        return NULL;
    if (add_names(names, bytes, size, &offset, number))
        return Py_BuildValue("Nn", names, offset);
    Py_DECREF(names);
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        return NULL;
    PyErr_Clear();
    Py_RETURN_NONE;
}
