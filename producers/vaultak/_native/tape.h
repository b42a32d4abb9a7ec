/* Where frames are written: the mapped segment of a spool, as `vaultak.publish.tape.PlainTape` does it in Python.
 *
 * Everything here happens without letting go of the GIL: for other threads a frame is there or it is not.
 */
#ifndef VAULTAK_TAPE_H
#define VAULTAK_TAPE_H

#include <structmember.h>
#include <sys/mman.h>

#define FRAME_HEADER 12
#define PREPARED_AHEAD (16 * 1024)
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

typedef struct {
    PyObject_HEAD
    Py_buffer segment; /* .buf is NULL when nothing is bound */
    Py_ssize_t offset; /* where the next frame goes */
    Py_ssize_t prepared; /* pages before it are there: writing to them faults no more */
    unsigned int marker;
    Py_ssize_t direct; /* frames that chains wrote so far */
    Py_ssize_t largest; /* bytes of a body */
    PyObject *reader; /* has `idle`, and `wake()` for when it is */
} Tape;

/* Have the kernel provide the next pages in one go: one by one, on first touch, they cost several times more. */
static void tape_prepare(Tape *tape) {
    if (tape->offset < tape->prepared) return;
    Py_ssize_t from = tape->offset & ~(Py_ssize_t)4095, size = PREPARED_AHEAD;
    if (size > tape->segment.len - from) size = tape->segment.len - from;
    tape->prepared = from + size;
#ifdef __linux__
    if (size > 0) (void)madvise((char *)tape->segment.buf + from, (size_t)size, MADV_POPULATE_WRITE);
#endif
}

/* Room for a body of this size, or NULL: nothing is bound, it is too large, or the segment is full. */
static char *tape_room(Tape *tape, size_t size) {
    if (tape->segment.buf == NULL || (Py_ssize_t)size > tape->largest) return NULL;
    if (tape->offset + (Py_ssize_t)size + FRAME_HEADER > tape->segment.len) return NULL;
    tape_prepare(tape);
    return (char *)tape->segment.buf + tape->offset + FRAME_HEADER;
}

static void put_u32(char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (char)(value >> (8 * i));
}

/* The body lies in its room: make it a frame. The marker last: a reader sees a frame only when all of it is there. */
static void tape_commit(Tape *tape, size_t size) {
    char *header = (char *)tape->segment.buf + tape->offset;
    put_u32(header + 4, (uint32_t)size);
    put_u32(header + 8, crc32_of((const uint8_t *)header + FRAME_HEADER, size));
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    put_u32(header, tape->marker);
    tape->offset += (Py_ssize_t)size + FRAME_HEADER;
}

/* Tell whoever reads, should it sleep. Never leaves an error. */
static void tape_wake(Tape *tape) {
    static PyObject *idle, *wake;
    if (tape->reader == NULL || tape->reader == Py_None) return;
    if (idle == NULL) idle = PyUnicode_InternFromString("idle");
    if (wake == NULL) wake = PyUnicode_InternFromString("wake");
    PyObject *reader = Py_NewRef(tape->reader);
    PyObject *sleeps = PyObject_GetAttr(reader, idle);
    if (sleeps == Py_True) Py_XDECREF(PyObject_CallMethodNoArgs(reader, wake));
    Py_XDECREF(sleeps);
    Py_DECREF(reader);
    if (PyErr_Occurred()) PyErr_WriteUnraisable((PyObject *)tape);
}

static PyObject *tape_append(Tape *self, PyObject *body) {
    if (!PyBytes_CheckExact(body)) {
        PyErr_SetString(PyExc_TypeError, "append(body: bytes)");
        return NULL;
    }
    size_t size = (size_t)PyBytes_GET_SIZE(body);
    char *room = tape_room(self, size);
    if (room == NULL) Py_RETURN_FALSE;
    memcpy(room, PyBytes_AS_STRING(body), size);
    tape_commit(self, size);
    Py_RETURN_TRUE;
}

static PyObject *tape_bind(Tape *self, PyObject *args) {
    Py_buffer segment;
    Py_ssize_t offset;
    unsigned int marker;
    if (!PyArg_ParseTuple(args, "w*nI", &segment, &offset, &marker)) return NULL;
    if (offset < 0 || offset > segment.len) {
        PyBuffer_Release(&segment);
        PyErr_SetString(PyExc_ValueError, "the offset lies outside the segment");
        return NULL;
    }
    PyBuffer_Release(&self->segment);
    self->segment = segment;
    self->offset = offset;
    self->prepared = 0;
    self->marker = marker;
    Py_RETURN_NONE;
}

static PyObject *tape_release(Tape *self, PyObject *none) {
    PyBuffer_Release(&self->segment);
    self->segment.buf = NULL;
    Py_RETURN_NONE;
}

static PyObject *tape_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"largest", NULL};
    Py_ssize_t largest;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n", names, &largest)) return NULL;
    Tape *self = (Tape *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->largest = largest;
        self->reader = Py_NewRef(Py_None);
    }
    return (PyObject *)self;
}

static int tape_traverse(Tape *self, visitproc visit, void *arg) {
    Py_VISIT(self->reader);
    Py_VISIT(self->segment.obj);
    return 0;
}

static int tape_clear(Tape *self) {
    Py_CLEAR(self->reader);
    return 0;
}

static void tape_dealloc(Tape *self) {
    PyObject_GC_UnTrack(self);
    PyBuffer_Release(&self->segment);
    Py_CLEAR(self->reader);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef TAPE_METHODS[] = {
    {"append", (PyCFunction)tape_append, METH_O, "append(body): write one frame; False when there is no room"},
    {"bind", (PyCFunction)tape_bind, METH_VARARGS, "bind(segment, offset, marker): go on writing there"},
    {"release", (PyCFunction)tape_release, METH_NOARGS, "release(): write nowhere"},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef TAPE_MEMBERS[] = {
    {"offset", T_PYSSIZET, offsetof(Tape, offset), READONLY, "where the next frame goes"},
    {"direct", T_PYSSIZET, offsetof(Tape, direct), READONLY, "frames that chains wrote so far"},
    {"reader", T_OBJECT, offsetof(Tape, reader), 0, "whom a chain wakes: has `idle` and `wake()`"},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject TapeType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "vaultak._native._core.Tape",
    .tp_basicsize = sizeof(Tape),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = tape_new,
    .tp_dealloc = (destructor)tape_dealloc,
    .tp_traverse = (traverseproc)tape_traverse,
    .tp_clear = (inquiry)tape_clear,
    .tp_methods = TAPE_METHODS,
    .tp_members = TAPE_MEMBERS,
};
#endif
