/* The chain of one agent instance's events, from their encoded members straight into the spool's mapping.
 *
 * `vaultak.chain.PlainChain` does the same in Python, byte for byte; the layout of a message is said there.
 */
#ifndef VAULTAK_CHAIN_H
#define VAULTAK_CHAIN_H

#include <math.h>
#include <time.h>

#include "tape.h"

#define DIGEST 64
#define TS 27 /* 2026-03-02T08:08:42.539518Z */
static const char HASH[] = ",\"hash\":\"";
static const char ACTION_ID[] = "{\"action_id\":\"";
static const double LAST_SECOND = 253402300799.0; /* of the year 9999 */

typedef struct {
    PyObject_HEAD
    PyObject *before; /* all ahead of the value of a message */
    Tape *tape;
    PyObject *slow; /* takes what `write` cannot, with the same arguments */
    int held; /* it does: wait for its lock */
    unsigned long long seq;
    char previous[DIGEST];
    long long second; /* whose text is kept */
    char second_text[21];
} Chain;

typedef struct {
    PyObject *names, *id, *suffix, *head, *middle, *tail, *last;
    int opens; /* the event begins with the id */
    char ts[TS], seq[24];
    size_t seq_size, id_size, event_size, message_size;
} Event;

/* MessagePack's header of a `bin` of some size; at most 5 bytes. */
static char *put_bin(char *at, size_t size) {
    if (size < 0x100) {
        *at++ = (char)0xc4;
    } else if (size < 0x10000) {
        *at++ = (char)0xc5;
        *at++ = (char)(size >> 8);
    } else {
        *at++ = (char)0xc6;
        for (int shift = 24; shift >= 8; shift -= 8) *at++ = (char)(size >> shift);
    }
    *at++ = (char)size;
    return at;
}

static size_t bin_size(size_t size) { return size + (size < 0x100 ? 2 : size < 0x10000 ? 3 : 5); }

static char *put(char *at, const char *bytes, size_t size) {
    memcpy(at, bytes, size);
    return at + size;
}

static char *put_bytes(char *at, PyObject *bytes) {
    return put(at, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

/* As `vaultak.wire.format_ts`. */
static int put_ts(Chain *chain, double epoch_s, char ts[TS]) {
    if (!(epoch_s >= 0 && epoch_s < LAST_SECOND)) return 0;
    long long us = llrint(epoch_s * 1e6);
    long long second = us / 1000000, left = us % 1000000;
    if (second != chain->second) {
        struct tm date;
        time_t moment = (time_t)second;
        if (gmtime_r(&moment, &date) == NULL) return 0;
        strftime(chain->second_text, sizeof chain->second_text, "%Y-%m-%dT%H:%M:%S.", &date);
        chain->second = second;
    }
    memcpy(ts, chain->second_text, 20);
    for (int i = 25; i >= 20; i--, left /= 10) ts[i] = (char)('0' + left % 10);
    ts[26] = 'Z';
    return 1;
}

/* An id that JSON shows as it is. */
static int plain(PyObject *id) {
    if (!PyUnicode_IS_COMPACT_ASCII(id)) return 0;
    const char *text = (const char *)PyUnicode_1BYTE_DATA(id);
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(id); i++)
        if (text[i] < ' ' || text[i] == '"' || text[i] == '\\') return 0;
    return 1;
}

/* 1: understood; 0: for the slower way; -1: an error. */
static int read_event(Chain *chain, PyObject *const *args, Py_ssize_t count, Event *event) {
    if (count != 9 || !PyTuple_CheckExact(args[0]) || PyTuple_GET_SIZE(args[0]) != 3 || !PyUnicode_Check(args[6])) {
        PyErr_SetString(PyExc_TypeError, "(names, opens, suffix, middle, tail, last, event_id, now_s, head)");
        return -1;
    }
    double now_s = PyFloat_AsDouble(args[7]);
    if (now_s == -1.0 && PyErr_Occurred()) return -1;
    event->names = args[0], event->opens = args[1] == Py_True, event->suffix = args[2], event->middle = args[3];
    event->tail = args[4], event->last = args[5], event->id = args[6], event->head = args[8];
    PyObject *parts[] = {event->suffix, event->head, event->middle, event->tail, event->last,
                         PyTuple_GET_ITEM(event->names, 0), PyTuple_GET_ITEM(event->names, 1),
                         PyTuple_GET_ITEM(event->names, 2)};
    size_t sizes[8];
    for (int i = 0; i < 8; i++) {
        if (!PyBytes_CheckExact(parts[i])) {
            PyErr_SetString(PyExc_TypeError, "bytes wanted");
            return -1;
        }
        sizes[i] = (size_t)PyBytes_GET_SIZE(parts[i]);
    }
    if (!plain(event->id) || !put_ts(chain, now_s, event->ts)) return 0;
    event->id_size = (size_t)PyUnicode_GET_LENGTH(event->id);
    event->seq_size = (size_t)snprintf(event->seq, sizeof event->seq, "%llu", chain->seq);
    event->event_size = (event->opens ? sizeof ACTION_ID + event->id_size : 0) + sizes[1] + sizes[2] + DIGEST + sizes[3] +
                        event->seq_size + sizes[4] + TS + 1 + sizeof HASH - 1 + DIGEST + 2;
    event->message_size = (size_t)PyBytes_GET_SIZE(chain->before) + bin_size(event->event_size) + sizes[5] +
                          bin_size(event->id_size + sizes[0]) + sizes[6] + bin_size(TS) + sizes[7];
    return 1;
}

/* Write the message, and go on to the next number. */
static void put_message(Chain *chain, const Event *event, char *at) {
    const char *id = (const char *)PyUnicode_1BYTE_DATA(event->id);
    size_t suffix_size = (size_t)PyBytes_GET_SIZE(event->suffix);
    char *start = at = put_bin(put_bytes(at, chain->before), event->event_size);
    if (event->opens) {
        at = put(put(at, ACTION_ID, sizeof ACTION_ID - 1), id, event->id_size);
        *at++ = '"';
    }
    at = put(put_bytes(put_bytes(at, event->head), event->middle), chain->previous, DIGEST);
    at = put_bytes(put(put_bytes(at, event->tail), event->seq, event->seq_size), event->last);
    at = put(put(at, event->ts, TS), "\"}", 2);
    sha256_hex((const uint8_t *)start, (size_t)(at - start), chain->previous);
    at = put(put(put(at - 1, HASH, sizeof HASH - 1), chain->previous, DIGEST), "\"}", 2);
    at = put_bin(put_bytes(at, PyTuple_GET_ITEM(event->names, 0)), event->id_size + suffix_size);
    at = put_bytes(put(at, id, event->id_size), event->suffix);
    at = put(put_bin(put_bytes(at, PyTuple_GET_ITEM(event->names, 1)), TS), event->ts, TS);
    put_bytes(at, PyTuple_GET_ITEM(event->names, 2));
    chain->seq++;
}

static PyObject *ts_of(const Event *event) { return PyUnicode_DecodeASCII(event->ts, TS, NULL); }

static PyObject *chain_write(Chain *self, PyObject *const *args, Py_ssize_t count) {
    Event event;
    int read = read_event(self, args, count, &event);
    if (read < 0) return NULL;
    char *room = read && !self->held ? tape_room(self->tape, event.message_size) : NULL;
    if (room == NULL) return PyObject_Vectorcall(self->slow, args, (size_t)count, NULL);
    put_message(self, &event, room);
    tape_commit(self->tape, event.message_size);
    self->tape->direct++;
    tape_wake(self->tape);
    return ts_of(&event);
}

static PyObject *chain_seal(Chain *self, PyObject *const *args, Py_ssize_t count) {
    Event event;
    int read = read_event(self, args, count, &event);
    if (read == 0) PyErr_SetString(PyExc_ValueError, "such an id, or such a time, has to be encoded by the caller");
    if (read <= 0) return NULL;
    PyObject *message = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)event.message_size);
    PyObject *ts = ts_of(&event);
    PyObject *sealed = NULL;
    if (message != NULL && ts != NULL && (sealed = PyTuple_Pack(2, message, ts)) != NULL)
        put_message(self, &event, PyBytes_AS_STRING(message));
    Py_XDECREF(message);
    Py_XDECREF(ts);
    return sealed;
}

static PyObject *chain_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"before", "tape", "slow", NULL};
    PyObject *before, *tape, *slow;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "SO!O", names, &before, &TapeType, &tape, &slow)) return NULL;
    Chain *self = (Chain *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->before = Py_NewRef(before);
    self->tape = (Tape *)Py_NewRef(tape);
    self->slow = Py_NewRef(slow);
    self->second = -1;
    memset(self->previous, '0', DIGEST); /* `GENESIS_HASH` */
    return (PyObject *)self;
}

static int chain_traverse(Chain *self, visitproc visit, void *arg) {
    Py_VISIT(self->tape);
    Py_VISIT(self->slow);
    return 0;
}

static int chain_clear(Chain *self) {
    Py_SETREF(self->slow, Py_NewRef(Py_None)); /* the tape stays: without it this could not write */
    return 0;
}

static void chain_dealloc(Chain *self) {
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->before);
    Py_CLEAR(self->tape);
    Py_CLEAR(self->slow);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef CHAIN_METHODS[] = {
    {"write", (PyCFunction)(void (*)(void))chain_write, METH_FASTCALL,
     "write(names, opens, suffix, middle, tail, last, event_id, now_s, head): into the tape, or else to `slow`; its `ts`"},
    {"seal", (PyCFunction)(void (*)(void))chain_seal, METH_FASTCALL, "seal(as `write`): the message and the event's `ts`"},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef CHAIN_MEMBERS[] = {
    {"held", T_INT, offsetof(Chain, held), 0, "nonzero: everything goes to `slow`, which keeps the order by a lock"},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject ChainType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "vaultak._native._core.Chain",
    .tp_basicsize = sizeof(Chain),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = chain_new,
    .tp_dealloc = (destructor)chain_dealloc,
    .tp_traverse = (traverseproc)chain_traverse,
    .tp_clear = (inquiry)chain_clear,
    .tp_methods = CHAIN_METHODS,
    .tp_members = CHAIN_MEMBERS,
};
#endif
