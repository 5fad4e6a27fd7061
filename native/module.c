/* The module hybridsync._native: the few loops that see every znode of a tree, in C.
 *
 * Everything here is also written in Python, and where it was not built, that is what runs: slower, with the same
 * results. So each function may decline, and does for whatever is not common: then Python does it.
 */

#include "native.h"

#define FUNCTION(name, text) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, text}

static PyMethodDef METHODS[] = {
    FUNCTION(znode_document, "The document of a znode as BSON, or None."),
    FUNCTION(znode_names, "The names of children in the answer to a multiRead, and where they end, or None."),
    FUNCTION(znode_values, "The values that follow each other in the answer to a multiRead, and where they end."),
    FUNCTION(znode_versions, "What a batch of a mirror's index says, and the documents that are left to Python."),
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_native", NULL, 0, METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&MODULE);
}
