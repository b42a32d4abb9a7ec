/* The compiled core: the audit hook's filter, the wrapper around patched calls,
 * canonical names of files, ids, and the writing of events.
 *
 * It decides nothing. What it does is done by `vaultak.intercept.hook` and `vaultak.intercept.paths` in Python too,
 * with the same results, where there is no compiler. Two differences are its reason: an event that nobody wants costs
 * tens of nanoseconds, and looking at frames and files from here raises no events of its own.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/random.h>
#include <sys/syscall.h>
#if defined(__has_include)
#if __has_include(<linux/openat2.h>) && defined(SYS_openat2)
#include <linux/openat2.h>
#endif
#endif
#endif

#include "crc32.h"
#ifdef VAULTAK_SHA256
#include "chain.h"
#endif

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
static PyObject *governor_by(PyObject *variable, PyObject *unset, PyObject *current) {
    PyObject *governor = NULL;
    if (PyContextVar_Get(variable, unset, &governor) < 0) return NULL;
    if (governor == unset) {
        Py_DECREF(governor);
        governor = PyObject_CallNoArgs(current);
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
    PyObject *governor = governor_by(hook->variable, hook->unset, hook->current);
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

/* The event of an import names a file when native code is about to be loaded; without one there is nothing to judge:
 * a module's body is, when it is executed. There are thousands of these. */
static int is_plain_import(const char *event, PyObject *args) {
    return strcmp(event, "import") == 0 && PyTuple_CheckExact(args) && PyTuple_GET_SIZE(args) > 1 &&
           PyTuple_GET_ITEM(args, 1) == Py_None;
}

static int on_event(const char *event, PyObject *args, void *data) {
    const Hook *hook = data;
    if (!wanted(hook, event) || is_plain_import(event, args) || !Py_IsInitialized()) return 0;
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

#include "observe.h"

/* -- names of files -------------------------------------------------------------------------------------------- */

#ifdef O_PATH
static const char DELETED[] = " (deleted)";

/* The canonical name behind an open descriptor. */
static Py_ssize_t name_behind(int fd, char *name, size_t room) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, room);
    if (length <= 0 || (size_t)length >= room || name[0] != '/') return -1;
    size_t mark = sizeof DELETED - 1;
    if ((size_t)length >= mark && memcmp(name + length - mark, DELETED, mark) == 0) return -1;
    return length;
}

#ifdef RESOLVE_NO_SYMLINKS
/* Whether no part of a path is empty, `.` or `..`: without links in it, such an absolute one is canonical. */
static int is_normal(const char *path) {
    for (const char *part = path; *part == '/';) {
        const char *end = strchrnul(++part, '/');
        size_t size = (size_t)(end - part);
        if (size == 0 || (part[0] == '.' && (size == 1 || (size == 2 && part[1] == '.')))) return 0;
        part = end;
    }
    return 1;
}

/* As `canonical`, for an absolute path that needs no resolving; 0: it may. A third of the time of asking. */
static Py_ssize_t canonical_already(const char *path, char *name, size_t room) {
    size_t size = strlen(path);
    if (path[0] != '/' || size < 2 || size >= room || !is_normal(path)) return 0;
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    if (fd < 0) return errno == ENOENT ? -1 : 0;
    close((int)fd);
    memcpy(name, path, size);
    return (Py_ssize_t)size;
}
#endif

/* The canonical name of what a path leads to. Returns its length; -1 when there is nothing, or it has no name. */
static Py_ssize_t canonical(int directory, const char *path, char *name, size_t room) {
#ifdef RESOLVE_NO_SYMLINKS
    Py_ssize_t known = canonical_already(path, name, room);
    if (known != 0) return known;
#endif
    int fd = openat(directory, path, O_PATH | O_CLOEXEC);
    if (fd < 0) return -1;
    Py_ssize_t length = name_behind(fd, name, room);
    close(fd);
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

/* -- ids ------------------------------------------------------------------------------------------------------- */

#ifdef __linux__
#define RANDOM_EACH 10
static unsigned char drawn[64 * RANDOM_EACH];
static size_t drawn_left = 0;

/* A forked child must not hand out its parent's ids. */
static PyObject *forget_drawn(PyObject *module, PyObject *none) {
    drawn_left = 0;
    Py_RETURN_NONE;
}

/* uuid7(): as `vaultak.wire.uuid7`, RFC 9562. */
static PyObject *uuid7(PyObject *module, PyObject *none) {
    static const char DIGITS[] = "0123456789abcdef";
    if (drawn_left == 0) {
        if (getrandom(drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn) return PyErr_SetFromErrno(PyExc_OSError);
        drawn_left = sizeof drawn;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned long long ms = (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
    unsigned char id[16];
    for (int i = 0; i < 6; i++) id[i] = (unsigned char)(ms >> (40 - 8 * i));
    drawn_left -= RANDOM_EACH;
    memcpy(id + 6, drawn + drawn_left, RANDOM_EACH);
    id[6] = (unsigned char)(0x70 | (id[6] & 0x0f));
    id[8] = (unsigned char)(0x80 | (id[8] & 0x3f));
    char text[36], *at = text;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
        *at++ = DIGITS[id[i] >> 4];
        *at++ = DIGITS[id[i] & 15];
    }
    return PyUnicode_DecodeASCII(text, sizeof text, NULL);
}
#endif

static PyMethodDef METHODS[] = {
    {"install", install, METH_VARARGS,
     "install(events, variable, unset, current, known, foreign, library, importer, wrapper, actor, react): add the hook, once"},
    {"kernel_name", (PyCFunction)(void (*)(void))kernel_name, METH_FASTCALL,
     "kernel_name(path, directory): the canonical name of something that exists, or None"},
#ifdef __linux__
    {"uuid7", uuid7, METH_NOARGS, "uuid7(): a fresh UUIDv7"},
    {"forget_drawn", forget_drawn, METH_NOARGS, "forget_drawn(): to be called in a forked child"},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "vaultak._native._core", NULL, -1, METHODS, NULL, NULL, NULL, NULL};

/* Without instructions for hashing, doing it here would be slower than OpenSSL: `Tape` and `Chain` are missing then. */
PyMODINIT_FUNC PyInit__core(void) {
    PyObject *module = PyModule_Create(&MODULE);
    if (module != NULL && PyModule_AddType(module, &ObservedType) < 0) Py_CLEAR(module);
#ifdef VAULTAK_SHA256
    if (module == NULL || !sha256_available() || !crc32_available()) return module;
    crc32_prepare();
    if (PyModule_AddType(module, &TapeType) < 0 || PyModule_AddType(module, &ChainType) < 0) Py_CLEAR(module);
#endif
    return module;
}
