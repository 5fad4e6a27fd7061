/* What the files of this folder share. Each function is told about where it is written, and in hybridsync/_native.pyi. */

#ifndef HYBRIDSYNC_NATIVE_H
#define HYBRIDSYNC_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

PyObject *znode_document(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *znode_names(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *znode_values(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *znode_versions(PyObject *module, PyObject *const *given, Py_ssize_t count);

/* The version of a state of a znode, as `version_from` in hybridsync/znode.py makes it. */
PyObject *znode_version(uint64_t czxid, uint64_t mzxid, uint64_t mtime);

enum { STAT_BYTES = 68 }; /* of a znode, as ZooKeeper sends it */

/* Reads `size` bytes as an unsigned number: as ZooKeeper writes it, and as BSON does. */
static inline uint64_t big_endian(const char *bytes, size_t size)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | (unsigned char)bytes[i];
    return number;
}

static inline uint64_t little_endian(const char *bytes, size_t size)
{
    uint64_t number = 0;
    for (size_t i = size; i-- > 0;)
        number = number << 8 | (unsigned char)bytes[i];
    return number;
}

#endif
