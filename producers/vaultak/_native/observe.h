/* The wrapper around a patched call, as `vaultak.intercept.calls.observe` makes it in Python: it gives the actions
 * judged inside the call their outcome, and decides nothing.
 */
#ifndef VAULTAK_OBSERVE_H
#define VAULTAK_OBSERVE_H

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *name;
    PyObject *variable, *unset, *current; /* who governs: as for the hook */
    PyObject *thread;                     /* has `calls`, the list of those under way on the thread */
    PyObject *make;                       /* (name, args, kwargs, started_s) -> a call: `actions`, `settle(error)` */
    PyObject *clock;
} Observed;

/* 1: somebody governs the running code; 0: nobody; -1: an error. */
static int is_governed(const Observed *self) {
    PyObject *governor = governor_by(self->variable, self->unset, self->current);
    if (governor == NULL) return PyErr_Occurred() ? -1 : 0;
    Py_DECREF(governor);
    return 1;
}

/* A call that has been put on the list of its thread; a new reference. */
static PyObject *begin_call(const Observed *self, PyObject *args, PyObject *kwargs, PyObject **calls) {
    static PyObject *attribute;
    if (attribute == NULL && (attribute = PyUnicode_InternFromString("calls")) == NULL) return NULL;
    PyObject *started = PyObject_CallNoArgs(self->clock);
    if (started == NULL) return NULL;
    PyObject *members[] = {self->name, args, kwargs, started};
    PyObject *call = PyObject_Vectorcall(self->make, members, 4, NULL);
    Py_DECREF(started);
    if (call == NULL) return NULL;
    *calls = PyObject_GetAttr(self->thread, attribute);
    if (*calls != NULL && PyList_CheckExact(*calls) && PyList_Append(*calls, call) == 0) return call;
    if (*calls != NULL && !PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "the calls of a thread are a list");
    Py_CLEAR(*calls);
    Py_DECREF(call);
    return NULL;
}

static int end_call(PyObject *calls, PyObject *call) {
    for (Py_ssize_t i = PyList_GET_SIZE(calls); i-- > 0;)
        if (PyList_GET_ITEM(calls, i) == call) return PyList_SetSlice(calls, i, i + 1, NULL);
    return 0;
}

/* Record the outcome of the call's actions; `error` is NULL where there was none. */
static int settle(PyObject *call, PyObject *error) {
    static PyObject *actions, *method;
    if (actions == NULL && (actions = PyUnicode_InternFromString("actions")) == NULL) return -1;
    if (method == NULL && (method = PyUnicode_InternFromString("settle")) == NULL) return -1;
    PyObject *judged = PyObject_GetAttr(call, actions);
    if (judged == NULL) return -1;
    int any = !PyList_CheckExact(judged) || PyList_GET_SIZE(judged) > 0;
    Py_DECREF(judged);
    if (!any) return 0;
    PyObject *settled = PyObject_CallMethodOneArg(call, method, error == NULL ? Py_None : error);
    if (settled == NULL) return -1;
    Py_DECREF(settled);
    return 0;
}

/* The call has failed, its error is set: it stays so, unless settling fails too. */
static void settle_error(PyObject *calls, PyObject *call) {
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != NULL) PyException_SetTraceback(error, trace);
    if (end_call(calls, call) < 0 || settle(call, error) < 0) {
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(trace);
        return;
    }
    PyErr_Restore(type, error, trace);
}

static PyObject *observed_call(PyObject *callable, PyObject *const *stack, size_t flags, PyObject *names) {
    Observed *self = (Observed *)callable;
    if (PyVectorcall_NARGS(flags) != 4 || names != NULL || !PyTuple_Check(stack[2]) || !PyDict_Check(stack[3])) {
        PyErr_SetString(PyExc_TypeError, "(wrapped, instance, args, kwargs)");
        return NULL;
    }
    PyObject *wrapped = stack[0], *args = stack[2], *kwargs = stack[3], *calls = NULL;
    int governed = is_governed(self);
    if (governed < 0) return NULL;
    if (!governed) return PyObject_Call(wrapped, args, kwargs);
    PyObject *call = begin_call(self, args, kwargs, &calls);
    if (call == NULL) return NULL;
    PyObject *result = PyObject_Call(wrapped, args, kwargs);
    if (result == NULL) {
        settle_error(calls, call);
    } else if (end_call(calls, call) < 0 || settle(call, NULL) < 0) {
        Py_CLEAR(result);
    }
    Py_DECREF(call);
    Py_DECREF(calls);
    return result;
}

static PyObject *observed_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "variable", "unset", "current", "thread", "make", "clock", NULL};
    PyObject *name, *variable, *unset, *current, *thread, *make, *clock;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UOOOOOO", names, &name, &variable, &unset, &current, &thread, &make,
                                     &clock))
        return NULL;
    Observed *self = (Observed *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->vectorcall = observed_call;
    self->name = Py_NewRef(name);
    self->variable = Py_NewRef(variable);
    self->unset = Py_NewRef(unset);
    self->current = Py_NewRef(current);
    self->thread = Py_NewRef(thread);
    self->make = Py_NewRef(make);
    self->clock = Py_NewRef(clock);
    return (PyObject *)self;
}

/* Never cleared: a patch that still is in place needs all of it. */
static int observed_traverse(Observed *self, visitproc visit, void *arg) {
    Py_VISIT(self->variable);
    Py_VISIT(self->unset);
    Py_VISIT(self->current);
    Py_VISIT(self->thread);
    Py_VISIT(self->make);
    Py_VISIT(self->clock);
    return 0;
}

static void observed_dealloc(Observed *self) {
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->name);
    Py_CLEAR(self->variable);
    Py_CLEAR(self->unset);
    Py_CLEAR(self->current);
    Py_CLEAR(self->thread);
    Py_CLEAR(self->make);
    Py_CLEAR(self->clock);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyTypeObject ObservedType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "vaultak._native._core.Observed",
    .tp_basicsize = sizeof(Observed),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(Observed, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_new = observed_new,
    .tp_dealloc = (destructor)observed_dealloc,
    .tp_traverse = (traverseproc)observed_traverse,
};
#endif
