/* The compiled core: the audit hook's filter, canonical names of files, and the hash of events.
 *
 * It decides nothing. What it does is done by `vaultak.intercept.hook` and `vaultak.intercept.paths` in Python too,
 * with the same results, where there is no compiler. Two differences are its reason: an event that nobody wants costs
 * tens of nanoseconds, and looking at frames and files from here raises no events of its own.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "sha256.h"

/* -- which events are wanted: open addressing over their names ------------------------------------------------- */

#define SLOTS 1024 /* a power of two, several times the number of events */
#define MAX_EVENTS 256
#define MAX_NAME 64

typedef struct {
    uint32_t hash;
    char name[MAX_NAME];
} Slot;

typedef struct {
    PyInterpreterState *interpreter;
    PyObject *variable; /* the context variable that holds the governor */
    PyObject *unset;    /* its value where the context says nothing */
    PyObject *current;  /* asks the thread then */
    PyObject *known;    /* id(code) -> (code, origin), kept by `Origins` */
    PyObject *foreign, *library, *importer, *wrapper;
    PyObject *actor; /* (frame) -> (frame, whether the SDK acts), for every other origin */
    PyObject *react; /* (event, args, frame, governor) */
    Slot slots[SLOTS];
} Hook;

static Hook *installed = NULL;

static uint32_t hash_of(const char *name) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash | 1u; /* 0 marks a free slot */
}

static int wanted(const Hook *hook, const char *event) {
    uint32_t hash = hash_of(event);
    for (uint32_t i = hash & (SLOTS - 1);; i = (i + 1) & (SLOTS - 1)) {
        const Slot *slot = &hook->slots[i];
        if (slot->hash == 0) return 0;
        if (slot->hash == hash && strcmp(slot->name, event) == 0) return 1;
    }
}

static int want(Hook *hook, const char *event) {
    if (strlen(event) >= MAX_NAME) return -1;
    uint32_t hash = hash_of(event);
    uint32_t i = hash & (SLOTS - 1);
    while (hook->slots[i].hash != 0) i = (i + 1) & (SLOTS - 1);
    hook->slots[i].hash = hash;
    strcpy(hook->slots[i].name, event);
    return 0;
}

/* -- whose doing it is ----------------------------------------------------------------------------------------- */

/* The governor of the running code: a new reference, NULL with an error set, or NULL without one for nobody. */
static PyObject *governor_of(const Hook *hook) {
    PyObject *governor = NULL;
    if (PyContextVar_Get(hook->variable, hook->unset, &governor) < 0) return NULL;
    if (governor == hook->unset) {
        Py_DECREF(governor);
        governor = PyObject_CallNoArgs(hook->current);
        if (governor == NULL) return NULL;
    }
    if (governor == Py_None) Py_CLEAR(governor);
    return governor;
}

/* The origin known of a code object: borrowed, NULL when nothing is known. Never leaves an error set. */
static PyObject *origin_of(const Hook *hook, PyCodeObject *code) {
    PyObject *key = PyLong_FromVoidPtr(code);
    if (key == NULL) {
        PyErr_Clear();
        return NULL;
    }
    PyObject *found = PyDict_GetItemWithError(hook->known, key);
    Py_DECREF(key);
    if (found == NULL) {
        PyErr_Clear();
        return NULL;
    }
    return PyTuple_CheckExact(found) && PyTuple_GET_SIZE(found) == 2 ? PyTuple_GET_ITEM(found, 1) : NULL;
}

/* The frame an event belongs to, as `Origins.actor` finds it. 1: there is one (or `None`) in `*frame`; 0: the SDK's
 * own doing; -1: an error. */
static int acting(const Hook *hook, PyObject **frame) {
    PyFrameObject *top = PyThreadState_GetFrame(PyThreadState_Get());
    while (top != NULL) {
        PyCodeObject *code = PyFrame_GetCode(top);
        PyObject *origin = origin_of(hook, code);
        Py_DECREF(code);
        if (origin == hook->foreign || origin == hook->library || origin == hook->importer) {
            *frame = (PyObject *)top;
            return 1;
        }
        if (origin != hook->wrapper) {
            PyObject *pair = PyObject_CallOneArg(hook->actor, (PyObject *)top);
            Py_DECREF(top);
            if (pair == NULL) return -1;
            int own = PyObject_IsTrue(PyTuple_GET_ITEM(pair, 1));
            *frame = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
            Py_DECREF(pair);
            if (own) Py_CLEAR(*frame);
            return own < 0 ? -1 : !own;
        }
        PyFrameObject *back = PyFrame_GetBack(top);
        Py_DECREF(top);
        top = back;
    }
    *frame = Py_NewRef(Py_None);
    return 1;
}

static int judge(const Hook *hook, const char *event, PyObject *args) {
    PyObject *governor = governor_of(hook);
    if (governor == NULL) return PyErr_Occurred() ? -1 : 0;
    PyObject *frame = NULL, *answer = NULL;
    /* As for a hook in Python: no tracer of the agent's sees, or disturbs, what follows. */
    PyThreadState *thread = PyThreadState_Get();
    PyThreadState_EnterTracing(thread);
    int acts = acting(hook, &frame);
    if (acts > 0) {
        PyObject *name = PyUnicode_FromString(event);
        if (name != NULL) {
            PyObject *stack[] = {name, args, frame, governor};
            answer = PyObject_Vectorcall(hook->react, stack, 4, NULL);
            Py_DECREF(name);
        }
    }
    PyThreadState_LeaveTracing(thread);
    Py_XDECREF(frame);
    Py_DECREF(governor);
    if (acts == 0) return 0;
    if (answer == NULL) return -1;
    Py_DECREF(answer);
    return 0;
}

static int on_event(const char *event, PyObject *args, void *data) {
    const Hook *hook = data;
    if (!wanted(hook, event) || !Py_IsInitialized()) return 0;
    if (PyInterpreterState_Get() != hook->interpreter) return 0;
    return judge(hook, event, args);
}

static PyObject *install(PyObject *module, PyObject *args) {
    PyObject *events;
    Hook *hook = PyMem_Calloc(1, sizeof(Hook));
    if (hook == NULL) return PyErr_NoMemory();
    if (!PyArg_ParseTuple(args, "O!OOOO!OOOOOO", &PyTuple_Type, &events, &hook->variable, &hook->unset, &hook->current,
                          &PyDict_Type, &hook->known, &hook->foreign, &hook->library, &hook->importer,
                          &hook->wrapper, &hook->actor,
                          &hook->react))
        goto refused;
    if (installed != NULL || PyTuple_GET_SIZE(events) > MAX_EVENTS) {
        PyErr_SetString(PyExc_RuntimeError, installed ? "the hook is in place already" : "too many events");
        goto refused;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(events); i++) {
        const char *event = PyUnicode_AsUTF8(PyTuple_GET_ITEM(events, i));
        if (event == NULL) goto refused;
        if (want(hook, event) < 0) {
            PyErr_Format(PyExc_ValueError, "the name of event `%s` is too long", event);
            goto refused;
        }
    }
    hook->interpreter = PyInterpreterState_Get();
    /* Kept for the life of the process, as the hook itself is. */
    Py_INCREF(hook->variable);
    Py_INCREF(hook->unset);
    Py_INCREF(hook->current);
    Py_INCREF(hook->known);
    Py_INCREF(hook->foreign);
    Py_INCREF(hook->library);
    Py_INCREF(hook->importer);
    Py_INCREF(hook->wrapper);
    Py_INCREF(hook->actor);
    Py_INCREF(hook->react);
    installed = hook;
    if (PySys_AddAuditHook(on_event, hook) < 0) {
        installed = NULL;
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "another audit hook refuses further ones");
        goto refused;
    }
    Py_RETURN_NONE;
refused:
    PyMem_Free(hook);
    return NULL;
}

/* -- names of files -------------------------------------------------------------------------------------------- */

#ifdef O_PATH
static const char DELETED[] = " (deleted)";

/* The canonical name of what a path leads to. Returns its length; -1 when there is nothing, or it has no name. */
static Py_ssize_t canonical(int directory, const char *path, char *name, size_t room) {
    char link[40];
    int fd = openat(directory, path, O_PATH | O_CLOEXEC);
    if (fd < 0) return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, room);
    close(fd);
    if (length <= 0 || (size_t)length >= room || name[0] != '/') return -1;
    size_t mark = sizeof DELETED - 1;
    if ((size_t)length >= mark && memcmp(name + length - mark, DELETED, mark) == 0) return -1;
    return length;
}
#endif

static PyObject *kernel_name(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count != 2 || !PyUnicode_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "kernel_name(path: str, directory: int | None)");
        return NULL;
    }
#ifdef O_PATH
    int directory = AT_FDCWD;
    if (args[1] != Py_None) {
        directory = (int)PyLong_AsLong(args[1]);
        if (directory == -1 && PyErr_Occurred()) return NULL;
    }
    PyObject *path = PyUnicode_EncodeFSDefault(args[0]);
    if (path == NULL) return NULL;
    if (strlen(PyBytes_AS_STRING(path)) != (size_t)PyBytes_GET_SIZE(path)) {
        Py_DECREF(path);
        PyErr_SetString(PyExc_ValueError, "embedded null byte");
        return NULL;
    }
    char name[8192];
    Py_ssize_t length;
    Py_BEGIN_ALLOW_THREADS;
    length = canonical(directory, PyBytes_AS_STRING(path), name, sizeof name);
    Py_END_ALLOW_THREADS;
    Py_DECREF(path);
    if (length > 0) return PyUnicode_DecodeFSDefaultAndSize(name, length);
#endif
    Py_RETURN_NONE;
}

/* -- writing events -------------------------------------------------------------------------------------------- */

#ifdef VAULTAK_SHA256
static const char HASH[] = ",\"hash\":\"";
#define DIGEST 64

/* Where bytes are written. Measured first, then written into a buffer of that size. */
static char *put(char *at, const char *bytes, size_t size) {
    memcpy(at, bytes, size);
    return at + size;
}

static char *put_bytes(char *at, PyObject *bytes) {
    return put(at, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

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

static int all_bytes(PyObject *const *parts, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++)
        if (!PyBytes_CheckExact(parts[i])) {
            PyErr_SetString(PyExc_TypeError, "bytes wanted");
            return 0;
        }
    return 1;
}

static size_t size_of(PyObject *const *parts, Py_ssize_t count) {
    size_t size = 0;
    for (Py_ssize_t i = 0; i < count; i++) size += (size_t)PyBytes_GET_SIZE(parts[i]);
    return size;
}

/* Parts, a closing brace, and the hash of both put in before the brace. `room` for all of it is there. */
static char *put_sealed(char *at, PyObject *const *parts, Py_ssize_t count, char digest[DIGEST]) {
    char *start = at;
    for (Py_ssize_t i = 0; i < count; i++) at = put_bytes(at, parts[i]);
    *at = '}';
    sha256_hex((const uint8_t *)start, (size_t)(at + 1 - start), digest);
    at = put(at, HASH, sizeof HASH - 1);
    at = put(at, digest, DIGEST);
    return put(at, "\"}", 2);
}

#define SEALING (sizeof HASH - 1 + DIGEST + 2)

/* seal(*parts): the parts joined are an event without its last brace; with it, it is what the hash covers. */
static PyObject *seal(PyObject *module, PyObject *const *parts, Py_ssize_t count) {
    if (!all_bytes(parts, count)) return NULL;
    PyObject *event = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(size_of(parts, count) + SEALING));
    PyObject *digest = PyBytes_FromStringAndSize(NULL, DIGEST);
    PyObject *sealed = NULL;
    if (event != NULL && digest != NULL) {
        put_sealed(PyBytes_AS_STRING(event), parts, count, PyBytes_AS_STRING(digest));
        sealed = PyTuple_Pack(2, event, digest);
    }
    Py_XDECREF(event);
    Py_XDECREF(digest);
    return sealed;
}

/* write(before, names, event_id, ts, *parts): a message as `vaultak.publish.frames.encode_body` makes it, and the
 * event's hash. `before` is all ahead of the value, `names` the encoded headers around the id and the time: what comes
 * ahead of the id, between the two, and behind. */
static PyObject *write_message(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count < 5 || !PyTuple_CheckExact(args[1]) || PyTuple_GET_SIZE(args[1]) != 3) {
        PyErr_SetString(PyExc_TypeError, "write(before, names: tuple of 3, event_id, ts, *parts)");
        return NULL;
    }
    PyObject *before = args[0], *id = args[2], *ts = args[3];
    PyObject **names = &PyTuple_GET_ITEM(args[1], 0);
    PyObject *const *parts = args + 4;
    if (!all_bytes(&before, 1) || !all_bytes(names, 3) || !all_bytes(args + 2, count - 2)) return NULL;
    size_t event_size = size_of(parts, count - 4) + SEALING;
    size_t id_size = (size_t)PyBytes_GET_SIZE(id), ts_size = (size_t)PyBytes_GET_SIZE(ts);
    size_t room = size_of(&before, 1) + size_of(names, 3) + event_size + id_size + ts_size + 15;
    PyObject *message = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
    PyObject *digest = PyBytes_FromStringAndSize(NULL, DIGEST);
    if (message == NULL || digest == NULL) goto failed;
    char *start = PyBytes_AS_STRING(message);
    char *at = put_bin(put_bytes(start, before), event_size);
    at = put_sealed(at, parts, count - 4, PyBytes_AS_STRING(digest));
    at = put_bytes(put_bin(put_bytes(at, names[0]), id_size), id);
    at = put_bytes(put_bin(put_bytes(at, names[1]), ts_size), ts);
    at = put_bytes(at, names[2]);
    if (_PyBytes_Resize(&message, at - start) < 0) goto failed;
    PyObject *written = PyTuple_Pack(2, message, digest);
    Py_DECREF(message);
    Py_DECREF(digest);
    return written;
failed:
    Py_XDECREF(message);
    Py_XDECREF(digest);
    return NULL;
}
#endif

static PyMethodDef METHODS[] = {
    {"install", install, METH_VARARGS,
     "install(events, variable, unset, current, known, foreign, library, importer, wrapper, actor, react): add the hook, once"},
    {"kernel_name", (PyCFunction)(void (*)(void))kernel_name, METH_FASTCALL,
     "kernel_name(path, directory): the canonical name of something that exists, or None"},
    {NULL, NULL, 0, NULL},
};

#ifdef VAULTAK_SHA256
static PyMethodDef WRITING[] = {
    {"seal", (PyCFunction)(void (*)(void))seal, METH_FASTCALL,
     "seal(*parts): the event that the parts make, with its hash, and the hash (hex)"},
    {"write", (PyCFunction)(void (*)(void))write_message, METH_FASTCALL,
     "write(before, names, event_id, ts, *parts): the message around the event that the parts make, and its hash"},
    {NULL, NULL, 0, NULL},
};
#endif

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "vaultak._native._core", NULL, -1, METHODS, NULL, NULL, NULL, NULL};

/* Without instructions for it, hashing here would be slower than OpenSSL: `seal` and `write` are missing then. */
PyMODINIT_FUNC PyInit__core(void) {
    PyObject *module = PyModule_Create(&MODULE);
#ifdef VAULTAK_SHA256
    if (module != NULL && sha256_available() && PyModule_AddFunctions(module, WRITING) < 0) Py_CLEAR(module);
#endif
    return module;
}
